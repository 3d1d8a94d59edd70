package issuer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

// Invariant 7: a Checked is good for one signature, whoever holds copies of it.
func TestCheckedIsSingleUse(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	p := ca.compile(t, ServiceDefault(), testEndpoints())
	draft, err := p.Draft(testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public())), epoch())
	if err != nil {
		t.Fatal(err)
	}
	var checkedOnce, signedOnce atomic.Int32
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			checked, err := draft.Check()
			if err != nil {
				if !errors.Is(err, ErrUsed) {
					t.Error(err)
				}
				return
			}
			checkedOnce.Add(1)
			var signers sync.WaitGroup
			for range 32 {
				signers.Go(func() {
					copied := checked
					switch _, err := ca.issuer.Sign(copied); {
					case err == nil:
						signedOnce.Add(1)
					case !errors.Is(err, ErrUsed):
						t.Error(err)
					}
				})
			}
			signers.Wait()
		})
	}
	group.Wait()
	if checkedOnce.Load() != 1 || signedOnce.Load() != 1 {
		t.Fatalf("checked %d times, signed %d times", checkedOnce.Load(), signedOnce.Load())
	}
}

// A draft is signed by the issuer that it names and by no other: profiles and issuers that are swapped
// while certificates are issued cannot mix.
func TestCheckedOfAnotherIssuerIsRefused(t *testing.T) {
	one, other := newTestCA(t, ECDSAP256), newTestCA(t, ECDSAP256)
	draft, err := one.compile(t, ServiceDefault(), testEndpoints()).Draft(testSubject(t, mustCheckKey(t, mustKey(t, Ed25519).Public())), epoch())
	if err != nil {
		t.Fatal(err)
	}
	checked, err := draft.Check()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.issuer.Sign(checked); err == nil {
		t.Fatal("signed by the wrong issuer")
	}
	if _, err := one.issuer.Sign(checked); err != nil {
		t.Fatalf("the refusal used it up: %v", err)
	}
}

// brokenSigner is an HSM that answers with somebody else's signature.
type brokenSigner struct{ crypto.Signer }

func (s brokenSigner) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	wrong := bytes.Clone(digest)
	wrong[0] ^= 1
	return s.Signer.Sign(r, wrong, opts)
}

// Signatures of keys outside of this process are verified before they are used.
func TestGlitchingSignerIsNoticed(t *testing.T) {
	for _, a := range CAAlgorithms() {
		ca := newTestCA(t, a)
		i, err := New([]*x509.Certificate{ca.issuing}, brokenSigner{ca.issuingKey})
		if err != nil {
			t.Fatal(err)
		}
		ca.issuer = i
		draft, err := ca.compile(t, ServiceDefault(), testEndpoints()).Draft(testSubject(t, mustCheckKey(t, mustKey(t, Ed25519).Public())), epoch())
		if err != nil {
			t.Fatal(err)
		}
		checked, err := draft.Check()
		if err != nil {
			t.Fatal(err)
		}
		if signed, err := i.Sign(checked); err == nil {
			t.Fatalf("%s: signed %x", a, signed.DER)
		}
	}
}
