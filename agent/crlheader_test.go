package agent

import (
	"crypto/x509"
	"testing"

	"github.com/handfast/handfast/agent/internal/testpki"
)

// For whatever crypto/x509 takes for a CRL with a nextUpdate, the header is the same.
func FuzzCRLHeader(f *testing.F) {
	pki := testpki.New(f, "test.example", nil)
	empty := pki.CRL()
	f.Add(empty)
	f.Add(pki.CRL(pki.Certificate(pki.ID("a"), 3600e9).Leaf))
	f.Add(empty[:40])
	f.Fuzz(func(t *testing.T, der []byte) {
		header, err := parseCRLHeader(der)
		list, listErr := x509.ParseRevocationList(der)
		if listErr != nil || list.NextUpdate.IsZero() {
			return
		}
		if err != nil {
			t.Fatalf("crypto/x509 reads it, but: %v", err)
		}
		if !header.thisUpdate.Equal(list.ThisUpdate) || !header.nextUpdate.Equal(list.NextUpdate) {
			t.Fatalf("%v to %v; crypto/x509 says %v to %v", header.thisUpdate, header.nextUpdate, list.ThisUpdate, list.NextUpdate)
		}
	})
}
