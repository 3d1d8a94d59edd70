// Package bettertls runs Netflix's BetterTLS suites, made by people who broke many
// TLS libraries with them, against certs.VerifyChain. It stands in the root module so
// that package certs itself depends on the standard library only.
package bettertls

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/Netflix/bettertls/test-suites/certutil"
	"github.com/Netflix/bettertls/test-suites/nameconstraints"
	"github.com/Netflix/bettertls/test-suites/pathbuilding"
	testcase "github.com/Netflix/bettertls/test-suites/test-case"

	"github.com/handfast/handfast/certs"
)

// TestPathBuilding: where several paths lead to the root, a good one is found however
// many bad ones stand beside it; where none is good (expired, wrong usage, names
// outside constraints, no CA, SHA-1), none is taken.
func TestPathBuilding(t *testing.T) {
	runSuite(t, pathbuilding.NewTestCaseProvider(), 1)
}

// TestNameConstraints: 9,490 combinations of names and constraints. -short takes every 29th.
func TestNameConstraints(t *testing.T) {
	step := uint(1)
	if testing.Short() {
		step = 29
	}
	runSuite(t, nameconstraints.NewTestCaseProvider(), step)
}

// maxPresented is how many certificates a peer may present to VerifyChain.
const maxPresented = 16

// shards is how many subtests share a suite, so that all cores work on it.
const shards = 8

func runSuite(t *testing.T, suite testcase.TestCaseProvider, step uint) {
	root, key, err := certutil.GenerateSelfSignedCert("bettertls_trust_root")
	if err != nil {
		t.Fatal(err)
	}
	td, err := certs.ParseTrustDomain("bettertls.example")
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := certs.NewBundle(td, []*x509.Certificate{root})
	if err != nil {
		t.Fatal(err)
	}
	count, err := suite.GetTestCaseCount()
	if err != nil || count < 50 {
		t.Fatalf("%d cases, %v: the suite is not what it was", count, err)
	}
	for shard := range uint(shards) {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			for i := shard * step; i < count; i += shards * step {
				test, err := suite.GetTestCase(i)
				if err != nil {
					t.Fatal(err)
				}
				runCase(t, i, test, bundle, root, key)
			}
		})
	}
}

func runCase(t *testing.T, i uint, test testcase.TestCase, bundle *certs.Bundle, root *x509.Certificate, key crypto.Signer) {
	t.Helper()
	made, err := test.GetCertificates(root, key)
	if err != nil {
		t.Errorf("case %d: %v", i, err)
		return
	}
	got := verify(made.Certificate, test.GetHostname(), bundle)
	if len(made.Certificate) > maxPresented {
		// Legitimately different: the eight cases of the largest graph present 36
		// certificates for one path of three. VerifyChain bounds the work that a stranger
		// can cause before it looks for a path; what Handfast issues needs three.
		var refusal *certs.Refusal
		if !errors.As(got, &refusal) || refusal.Cause != certs.CauseBadChain {
			t.Errorf("case %d: %d certificates were presented, got %v", i, len(made.Certificate), got)
		}
		return
	}
	switch expected := test.ExpectedResult(); expected {
	case testcase.EXPECTED_RESULT_PASS:
		if got != nil {
			t.Errorf("case %d: refused, but is sound: %v\n%+v", i, got, test)
		}
	case testcase.EXPECTED_RESULT_FAIL, testcase.EXPECTED_RESULT_SOFT_FAIL:
		if got == nil {
			t.Errorf("case %d: accepted, but is not sound\n%+v", i, test)
		}
	case testcase.EXPECTED_RESULT_SOFT_PASS:
		// The standards leave these open: refusing is legitimate.
	default:
		t.Errorf("case %d: unknown expectation %v", i, expected)
	}
}

// verify is what the suite expects of a TLS client. VerifyChain knows no host names
// (Handfast's peers have identities), so crypto/x509 compares the name after it.
func verify(ders [][]byte, hostname string, bundle *certs.Bundle) error {
	var chain []*x509.Certificate
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			// Malformed names are refused before a path is looked for.
			return err
		}
		chain = append(chain, cert)
	}
	path, err := certs.VerifyChain(chain, bundle, x509.ExtKeyUsageServerAuth, time.Now())
	if err != nil {
		return err
	}
	return path[0].VerifyHostname(hostname)
}
