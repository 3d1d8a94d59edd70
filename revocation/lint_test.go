package revocation

import (
	"crypto"
	"strings"
	"testing"
	"time"

	zx509 "github.com/zmap/zcrypto/x509" // what zlint reads CRLs with
	"github.com/zmap/zlint/v3"           // the field's own lints for CRLs and OCSP responses
	"github.com/zmap/zlint/v3/lint"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
)

// webPKIOnly are rules of the CA/Browser Forum that a private PKI need not keep: the
// forum discourages delta CRLs, and leaves reasons to RFC 5280 that its members do not use.
var webPKIOnly = map[string]string{
	"e_crl_extensions_validity":       "NOT RECOMMENDED",
	"e_cab_crl_has_valid_reason_code": "not included in BR",
}

func failures(t testing.TB, name string, results *zlint.ResultSet) int {
	t.Helper()
	ran := 0
	for lintName, result := range results.Results {
		if result.Status != lint.NA && result.Status != lint.NE {
			ran++
		}
		if details, excepted := webPKIOnly[lintName]; excepted && strings.Contains(result.Details, details) {
			continue
		}
		if result.Status > lint.Pass {
			t.Errorf("%s: %s is %v %s", name, lintName, result.Status, result.Details)
		}
	}
	return ran
}

// zlint's lints pass on full, delta and partitioned CRLs, empty ones and ones with each reason,
// and on OCSP responses of each status.
func TestLints(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Shards = 2 })
	paths := []string{fullPath(b.ca.ID()), deltaOf(fullPath(b.ca.ID()))}
	for n := range 2 {
		paths = append(paths, shardPath(b.ca.ID(), 2, n), deltaOf(shardPath(b.ca.ID(), 2, n)))
	}
	ran := 0
	lintAll := func() {
		for _, path := range paths {
			list, err := zx509.ParseRevocationList(b.document(path).export().DER())
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			ran += failures(t, path, zlint.LintRevocationList(list))
		}
	}
	lintAll()
	good := serialOfInt(t, 99)
	b.log.issue(b.ca.ID(), good)
	serials := []certs.Serial{good, serialOfInt(t, 98)}
	for reason := range certs.AACompromise {
		b.clock.advance(3 * time.Minute)
		if reason != 7 && reason != certs.RemoveFromCRL && reason != certs.CertificateHold {
			serials = append(serials, serialOfInt(t, int64(reason)))
			b.revoke(t, serialOfInt(t, int64(reason)), reason)
		}
	}
	lintAll()
	b.clock.advance(time.Hour)
	b.republish(t, true)
	lintAll()
	for _, serial := range serials {
		response, err := xocsp.ParseResponse(b.ask(marshal(t, nil, b.certID(t, crypto.SHA256, serial))), b.ca.cert)
		if err != nil {
			t.Fatal(err)
		}
		ran += failures(t, serial.String(), zlint.LintOcspResponse(response))
	}
	if ran < 100 {
		t.Errorf("only %d lints applied", ran)
	}
}
