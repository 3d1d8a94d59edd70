package revocation

import (
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

func TestStaticCRL(t *testing.T) {
	b := newBench(t, nil)
	rootCRL := func(number int64, extra ...func(*x509.RevocationList)) []byte {
		list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: testStart, NextUpdate: testStart.Add(48 * time.Hour)}
		for _, change := range extra {
			change(list)
		}
		return makeCRL(t, list, b.ca.top)
	}
	root := b.ca.top.ID()
	if err := b.AddStaticCRL(rootCRL(5)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		der  []byte
		want string
	}{
		{"older", rootCRL(4), "not newer"},
		{"same number", rootCRL(5), "not newer"},
		{"garbage", []byte("MIIB"), "parse"},
		{"own issuer", makeCRL(t, &x509.RevocationList{Number: big.NewInt(9), ThisUpdate: testStart, NextUpdate: testStart.Add(time.Hour)}, b.ca), "from the log"},
		{"partial", rootCRL(6, func(l *x509.RevocationList) { l.ExtraExtensions = criticalIDP }), "full one"},
	} {
		if err := b.AddStaticCRL(test.der); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	lost := serialOfInt(t, 77)
	if entry, revoked := b.Revoked(root, lost); revoked {
		t.Errorf("Revoked says %+v before the CRL does", entry)
	}
	if err := b.AddStaticCRL(rootCRL(6, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: lost.Int(), RevocationTime: testStart, ReasonCode: 2}}
	})); err != nil {
		t.Fatal(err)
	}
	want := Entry{Sequence: 6, Kind: Revoked, Issuer: root, Serial: lost, Reason: certs.CACompromise, At: testStart}
	if entry, revoked := b.Revoked(root, lost); !revoked || entry != want {
		t.Errorf("Revoked says %+v, %v; want %+v", entry, revoked, want)
	}
	if _, revoked := b.Revoked(root, serialOfInt(t, 78)); revoked {
		t.Error("a certificate that the CRL does not list is revoked")
	}
	if crl, ok := b.CRL(root); !ok || crl.Number.Int64() != 6 {
		t.Errorf("CRL does not return the root's newest one: %v", ok)
	}
	all := b.CRLs()
	if len(all) != 2 || all[0].Issuer != b.ca.ID() || all[1].Issuer != root || all[1].Number.Int64() != 6 {
		t.Errorf("CRLs returns %d lists", len(all))
	}
	if list := readCRL(t, b.Publisher, fullPath(root), b.ca.root); list.Number.Int64() != 6 {
		t.Errorf("the root's CRL has number %v", list.Number)
	}
	if err := b.Healthy(testStart.Add(49 * time.Hour)); err == nil || !strings.Contains(err.Error(), "made elsewhere, expired") {
		t.Errorf("an expired root CRL is healthy: %v", err)
	}
}
