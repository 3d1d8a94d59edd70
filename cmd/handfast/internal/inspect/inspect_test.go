package inspect_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/cmd/handfast/internal/inspect"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
	"github.com/handfast/handfast/cmd/handfast/internal/revstatus"
)

type asker struct {
	answer revstatus.Answer
	asked  int
}

func (a *asker) OCSP(context.Context, *x509.Certificate, *x509.Certificate) revstatus.Answer {
	a.asked++
	return a.answer
}

func (a *asker) CRL(context.Context, *x509.Certificate, *x509.Certificate) revstatus.Answer {
	return a.answer
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string, now time.Time) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return authority{cert: sign(t, template, template, key, key), key: key}
}

func sign(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestAHostileSubjectCannotSteerTheTerminal(t *testing.T) {
	now := time.Now()
	ca := newAuthority(t, "evil\x1b[2J\nvalidity: valid", now)
	report := &inspect.Report{Target: "x", Source: "file"}
	inspector := inspect.Inspector{Now: func() time.Time { return now }}
	inspector.Fill(t.Context(), report, pemfile.Content{Certificates: []*x509.Certificate{ca.cert}})
	var b bytes.Buffer
	if err := report.WriteText(&b, output.Style{}, now); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "\x1b") || strings.Contains(b.String(), "\nvalidity") {
		t.Fatalf("got %q", b.String())
	}
	if !strings.Contains(b.String(), "valid, expires in 48 hours") && !strings.Contains(b.String(), "valid, expires in 47 hours") {
		t.Fatalf("got %s", b.String())
	}
}

// What a certificate says about its own revocation stands in words and as data.
func TestRevocationExtensionsAreNamed(t *testing.T) {
	now := time.Now()
	ca := newAuthority(t, "issuer", now)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(6), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Minute),
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 36}},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 56}, Value: []byte{5, 0}},
		},
	}
	report := &inspect.Report{Target: "x", Source: "file"}
	inspector := inspect.Inspector{Now: time.Now}
	inspector.Fill(t.Context(), report, pemfile.Content{Certificates: []*x509.Certificate{sign(t, template, ca.cert, ca.key, ca.key), ca.cert}})
	leaf, issuer := report.Certificates[0], report.Certificates[1]
	if !leaf.MustStaple || !leaf.NoRevAvail || issuer.MustStaple || issuer.NoRevAvail {
		t.Errorf("got %+v and %+v", leaf, issuer)
	}
	var b bytes.Buffer
	if err := report.WriteText(&b, output.Style{}, now); err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"RFC 7633", "RFC 9608", "documentSigning"} {
		if strings.Count(b.String(), words) != 1 {
			t.Errorf("%s is not said once:\n%s", words, b.String())
		}
	}
}

// An issuer of the right name and the wrong key is not taken for the issuer, so no
// answer of its making could count.
func TestTheIssuerIsFoundBySignature(t *testing.T) {
	now := time.Now()
	ca, impostor := newAuthority(t, "issuer", now), newAuthority(t, "issuer", now)
	leaf := sign(t, &x509.Certificate{SerialNumber: big.NewInt(5), NotBefore: now.Add(-3 * time.Hour), NotAfter: now.Add(-2 * time.Hour)}, ca.cert, ca.key, ca.key)
	ask := &asker{answer: revstatus.Answer{Status: revstatus.Good}}
	for name, tt := range map[string]struct {
		known []*x509.Certificate
		asked int
	}{
		"issuer":   {[]*x509.Certificate{impostor.cert, ca.cert}, 1},
		"impostor": {[]*x509.Certificate{impostor.cert}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			ask.asked = 0
			report := &inspect.Report{}
			inspector := inspect.Inspector{Now: time.Now, Ask: ask, Issuers: tt.known}
			inspector.Fill(t.Context(), report, pemfile.Content{Certificates: []*x509.Certificate{leaf}})
			c := report.Certificates[0]
			if ask.asked != tt.asked || (c.SignedBy != "") != (tt.asked == 1) || c.Validity != "expired" {
				t.Fatalf("asked %d, %+v", ask.asked, c)
			}
			if tt.asked == 0 && c.OCSP.Status != revstatus.Unavailable {
				t.Fatalf("OCSP %+v", c.OCSP)
			}
		})
	}
}

func TestACRLIsSummedUp(t *testing.T) {
	now := time.Now()
	ca := newAuthority(t, "issuer", now)
	var entries []x509.RevocationListEntry
	for i := range 1500 {
		entries = append(entries, x509.RevocationListEntry{SerialNumber: big.NewInt(int64(i + 1)), RevocationTime: now, ReasonCode: 1})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(3), ThisUpdate: now.Add(-2 * time.Hour), NextUpdate: now.Add(-time.Hour), RevokedCertificateEntries: entries,
	}, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	report := &inspect.Report{}
	inspector := inspect.Inspector{Now: func() time.Time { return now }}
	inspector.Fill(t.Context(), report, pemfile.Content{CRLs: []*x509.RevocationList{crl}})
	got := report.CRLs[0]
	if got.Entries != 1500 || len(got.Revoked) != inspect.MaxRevoked || !got.Stale || got.Number != "3" || got.Revoked[0].Reason != "keyCompromise" {
		t.Fatalf("got %d entries, %d shown, stale %v", got.Entries, len(got.Revoked), got.Stale)
	}
	var b bytes.Buffer
	if err := report.WriteText(&b, output.Style{}, now); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "and 1490 more") || !strings.Contains(b.String(), "stale: the next one was due") {
		t.Fatalf("got %s", b.String())
	}
	data, err := json.Marshal(report)
	if err != nil || !json.Valid(data) {
		t.Fatal(err)
	}
}
