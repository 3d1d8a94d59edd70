package issuer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"
)

func crlTBS(t testing.TB, ca testCA, entries int) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(9), ThisUpdate: epoch(), NextUpdate: epoch().Add(time.Hour)}
	for i := range entries {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(int64(i + 1)), RevocationTime: epoch()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.issuing, ca.issuingKey)
	if err != nil {
		t.Fatal(err)
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	return crl.RawTBSRevocationList
}

func TestSignCRL(t *testing.T) {
	for _, a := range CAAlgorithms() {
		ca := newTestCA(t, a)
		for _, entries := range []int{0, 3} {
			tbs := crlTBS(t, ca, entries)
			signature, err := ca.issuer.SignCRL(tbs)
			if err != nil {
				t.Fatalf("%s: %v", a, err)
			}
			der, err := assemble(tbs, ca.issuer.SignatureAlgorithm(), signature)
			if err != nil {
				t.Fatal(err)
			}
			crl, err := x509.ParseRevocationList(der)
			if err != nil {
				t.Fatal(err)
			}
			if err := crl.CheckSignatureFrom(ca.issuing); err != nil || len(crl.RevokedCertificateEntries) != entries {
				t.Errorf("%s: %v", a, err)
			}
		}
	}
}

// In whatever pieces a list comes, it is signed only if it would be as a whole.
func TestSignCRLInPieces(t *testing.T) {
	for _, a := range CAAlgorithms() {
		ca := newTestCA(t, a)
		for _, entries := range []int{0, 3} {
			tbs, signed := crlTBS(t, ca, entries), 0
			for i := range tbs {
				for j := i; j <= len(tbs); j++ {
					pieces := [][]byte{tbs[:i], tbs[i:j], tbs[j:]}
					if signature, err := ca.issuer.SignCRL(pieces...); err == nil {
						signed++
						if err := ca.issuing.CheckSignature(ca.issuer.signer.scheme, tbs, signature); err != nil {
							t.Fatalf("%s in pieces: %v", a, err)
						}
					}
					if _, err := ca.issuer.SignCRL(append(pieces, []byte{0})...); err == nil {
						t.Fatalf("%s: with an octet more", a)
					}
				}
			}
			if signed == 0 {
				t.Errorf("%s: no way of cutting %d entries off was signed", a, entries)
			}
		}
	}
	if _, err := newTestCA(t, ECDSAP256).issuer.SignCRL(); err == nil {
		t.Error("nothing at all was signed")
	}
}

// FuzzSignCRLInPieces: what is accepted in pieces is accepted as a whole.
func FuzzSignCRLInPieces(f *testing.F) {
	ca := newTestCA(f, ECDSAP256)
	whole := crlTBS(f, ca, 2)
	f.Add(whole[:90], whole[90:100], whole[100:])
	f.Add(whole, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, first, middle, last []byte) {
		if ca.issuer.checkCertList([][]byte{first, middle, last}) != nil {
			return
		}
		if whole := bytes.Join([][]byte{first, middle, last}, nil); ca.issuer.checkCertList([][]byte{whole}) != nil {
			t.Fatalf("accepted in pieces only: %x", whole)
		}
	})
}

// version1TBS begins like a TBSCertList: INTEGER 1, the algorithm, the issuer.
func version1TBS(ca testCA, leaf *x509.Certificate) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddBytes(ca.issuer.SignatureAlgorithm())
		b.AddBytes(ca.issuing.RawSubject)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1UTCTime(leaf.NotBefore)
			b.AddASN1UTCTime(leaf.NotAfter)
		})
		b.AddBytes(leaf.RawSubject)
		b.AddBytes(leaf.RawSubjectPublicKeyInfo)
	})
	return b.BytesOrPanic()
}

// SignCRL and SignResponse never sign a certificate, nor each other's documents.
func TestSignCRLSignsNothingElse(t *testing.T) {
	ca, other := newTestCA(t, ECDSAP256), newTestCA(t, ECDSAP256)
	leaf, err := x509.ParseCertificate(ca.issue(t, ca.compile(t, ServiceDefault(), testEndpoints()), testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public())), epoch()).DER)
	if err != nil {
		t.Fatal(err)
	}
	crl := crlTBS(t, ca, 2)
	response := ocspTBS(t, ca)
	refuse := map[string][]byte{
		"nil":                   nil,
		"empty sequence":        {0x30, 0},
		"certificate":           leaf.RawTBSCertificate,
		"CA certificate":        ca.issuing.RawTBSCertificate,
		"version 1 certificate": version1TBS(ca, leaf),
		"whole certificate":     leaf.Raw,
		"trailing data":         append(bytes.Clone(crl), 0),
		"truncated":             crl[:len(crl)-1],
		"another issuer's":      crlTBS(t, other, 2),
		"version 1":             bytes.Replace(crl, []byte{2, 1, 1}, []byte{2, 1, 0}, 1),
		"another algorithm":     bytes.Replace(crl, mustHex("06082a8648ce3d040302"), mustHex("06082a8648ce3d040303"), 1),
	}
	for name, tbs := range refuse {
		if signature, err := ca.issuer.SignCRL(tbs); err == nil {
			t.Errorf("CRL: %s signed as %x", name, signature)
		}
	}
	if _, err := ca.issuer.SignCRL(response); err == nil {
		t.Error("CRL: OCSP response signed")
	}
	responder := newTestResponder(t, ca)
	refuse["CRL"] = crl
	for name, tbs := range refuse {
		if signature, err := responder.SignResponse(tbs); err == nil {
			t.Errorf("OCSP: %s signed as %x", name, signature)
		}
	}
	if signature, err := responder.SignResponse(response); err != nil {
		t.Error(err)
	} else if err := responder.Certificate().CheckSignature(x509.ECDSAWithSHA256, response, signature); err != nil {
		t.Error(err)
	}
}

// FuzzSignCRL: what is accepted never reads as a certificate, and is in this issuer's name.
func FuzzSignCRL(f *testing.F) {
	ca := newTestCA(f, ECDSAP256)
	bases := [][]byte{crlTBS(f, ca, 2), crlTBS(f, ca, 0), ca.issuing.RawTBSCertificate, version1TBS(ca, ca.issuing)}
	for base := range bases {
		f.Add(uint8(base), uint16(0), uint16(0), []byte{})
		f.Add(uint8(base), uint16(100), uint16(2), []byte{0x30, 0})
	}
	f.Fuzz(func(t *testing.T, base uint8, at, remove uint16, insert []byte) {
		tbs := splice(bases[int(base)%len(bases)], at, remove, insert)
		if ca.issuer.checkCertList([][]byte{tbs}) != nil {
			return
		}
		der, err := assemble(tbs, ca.issuer.SignatureAlgorithm(), []byte{0})
		if err != nil {
			t.Skip("too long")
		}
		if _, err := x509.ParseCertificate(der); err == nil {
			t.Fatalf("accepted a certificate: %x", tbs)
		}
		if !bytes.Contains(tbs, ca.issuing.RawSubject) {
			t.Fatalf("accepted a list of another issuer: %x", tbs)
		}
	})
}

func newTestResponder(t testing.TB, ca testCA) *Responder {
	t.Helper()
	key, err := NewResponderKey("")
	if err != nil {
		t.Fatal(err)
	}
	s := Subject{ID: mustID(t, "spiffe://prod.example.org/handfast/ocsp"), Key: mustCheckKey(t, key.Public())}
	r, err := NewResponder(key, ca.issue(t, ca.compile(t, OCSPResponder(), testEndpoints()), s, epoch()).DER)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ocspTBS(t testing.TB, ca testCA) []byte {
	t.Helper()
	der, err := ocsp.CreateResponse(ca.issuing, ca.issuing, ocsp.Response{Status: ocsp.Good, SerialNumber: big.NewInt(5), ThisUpdate: epoch(), NextUpdate: epoch().Add(time.Hour)}, ca.issuingKey)
	if err != nil {
		t.Fatal(err)
	}
	response, err := ocsp.ParseResponse(der, ca.issuing)
	if err != nil {
		t.Fatal(err)
	}
	return response.TBSResponseData
}

func TestResponder(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	cert := newTestResponder(t, ca).Certificate()
	noCheck := false
	for _, e := range cert.Extensions {
		noCheck = noCheck || e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}) && !e.Critical
	}
	if !noCheck || len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageOCSPSigning || len(cert.CRLDistributionPoints)+len(cert.OCSPServer) != 0 {
		t.Errorf("no check %t, uses %v, CRLs %v, OCSP %v", noCheck, cert.ExtKeyUsage, cert.CRLDistributionPoints, cert.OCSPServer)
	}
	if _, err := NewResponderKey(RSA2048); err == nil {
		t.Error("RSA responder key")
	}
	key := mustKey(t, ECDSAP256)
	leaf := ca.issue(t, ca.compile(t, ServiceDefault(), testEndpoints()), testSubject(t, mustCheckKey(t, key.Public())), epoch()).DER
	bare, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}}, ca.issuing, key.Public(), ca.issuingKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"no key":         second(NewResponder(nil, cert.Raw)),
		"another key":    second(NewResponder(key, cert.Raw)),
		"a service":      second(NewResponder(key, leaf)),
		"no nocheck":     second(NewResponder(key, bare)),
		"no certificate": second(NewResponder(key, []byte("x"))),
	} {
		if err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

// Invariant 18: whatever is printed of an issuer or a responder, no key is in it.
func TestPrintingShowsNoKey(t *testing.T) {
	for _, a := range CAAlgorithms() {
		ca := newTestCA(t, a)
		p := ca.compile(t, ServiceDefault(), testEndpoints())
		draft, err := p.Draft(testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public())), epoch())
		if err != nil {
			t.Fatal(err)
		}
		var forms []string
		switch key := ca.issuingKey.(type) {
		case ed25519.PrivateKey:
			seed := []byte(key[8:24])
			forms = []string{fmt.Sprintf("%x", seed), strings.Trim(fmt.Sprint(seed), "[]"), strings.Trim(fmt.Sprintf("%#v", seed), "[]byte{}")}
		case *ecdsa.PrivateKey:
			word := key.D.Bits()[1] //nolint:staticcheck // to look for it as fmt would print it
			forms = []string{key.D.String(), key.D.Text(16), fmt.Sprintf("%d", word), fmt.Sprintf("%x", word)}
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			printed := fmt.Sprintf(strings.Repeat(verb+" ", 5), ca.issuer, *p, p, draft, newTestResponder(t, ca))
			for _, form := range forms {
				if strings.Contains(printed, form) {
					t.Errorf("%s: %s prints the key", a, verb)
				}
			}
		}
	}
}
