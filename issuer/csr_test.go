package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/handfast/handfast/internal/costtest"
)

func mustCSR(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParseCSR(t *testing.T) {
	for _, a := range []Algorithm{ECDSAP256, ECDSAP384, Ed25519, RSA2048} {
		key := mustKey(t, a)
		got, err := ParseCSR(mustCSR(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ignored"}}))
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		if !sameKey(got.Key(), key.Public()) || got.Algorithm() != a {
			t.Errorf("%s: another key", a)
		}
	}
	for _, scheme := range []x509.SignatureAlgorithm{x509.ECDSAWithSHA384, x509.ECDSAWithSHA512} {
		if _, err := ParseCSR(mustCSR(t, mustKey(t, ECDSAP256), &x509.CertificateRequest{SignatureAlgorithm: scheme})); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

// craft builds a request piece by piece, properly signed whatever the pieces are.
func craft(t *testing.T, key *ecdsa.PrivateKey, version int64, spki []byte, extra func(*cryptobyte.Builder)) []byte {
	t.Helper()
	var info cryptobyte.Builder
	info.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(version)
		b.AddASN1(cbasn1.SEQUENCE, func(*cryptobyte.Builder) {})
		b.AddBytes(spki)
		extra(b)
	})
	signed := info.BytesOrPanic()
	digest := sha256.Sum256(signed)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	der, err := assemble(signed, mustHex("300a06082a8648ce3d040302"), signature)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Invariant 9: CSRs prove possession; malformed ones are refused.
func TestBadCSRsAreRefused(t *testing.T) {
	key := mustKey(t, ECDSAP256).(*ecdsa.PrivateKey)
	spki := mustCheckKey(t, &key.PublicKey).spki
	foreign := mustCheckKey(t, mustKey(t, ECDSAP256).Public()).spki
	attributes := func(b *cryptobyte.Builder) { b.AddBytes([]byte{0xa0, 0}) }
	good := craft(t, key, 0, spki, attributes)
	if _, err := ParseCSR(good); err != nil {
		t.Fatalf("the request that the others differ from: %v", err)
	}
	if _, err := ParseCSR(craft(t, key, 0, spki, func(*cryptobyte.Builder) {})); err != nil {
		t.Fatalf("without attributes: %v", err)
	}
	flip := func(at int) []byte {
		der := bytes.Clone(good)
		der[at] ^= 1
		return der
	}
	rsaKey := mustKey(t, RSA2048)
	sha1RSA := bytes.Replace(mustCSR(t, rsaKey, &x509.CertificateRequest{}), mustHex("2a864886f70d01010b"), mustHex("2a864886f70d010105"), 1)
	tests := map[string][]byte{
		"empty":                  {},
		"nil":                    nil,
		"zero":                   make([]byte, 100),
		"PEM":                    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good}),
		"trailing data":          append(bytes.Clone(good), 0),
		"indefinite length":      append([]byte{0x30, 0x80}, good[3:]...),
		"version 1":              craft(t, key, 1, spki, attributes),
		"negative version":       craft(t, key, -1, spki, attributes),
		"another's key":          craft(t, key, 0, foreign, attributes),
		"no key":                 craft(t, key, 0, nil, attributes),
		"empty key":              craft(t, key, 0, []byte{0x30, 0}, attributes),
		"trailing element":       craft(t, key, 0, spki, func(b *cryptobyte.Builder) { b.AddBytes([]byte{0xa0, 0, 5, 0}) }),
		"wrong attributes tag":   craft(t, key, 0, spki, func(b *cryptobyte.Builder) { b.AddBytes([]byte{0xa1, 0}) }),
		"signature changed":      flip(len(good) - 1),
		"signed bytes changed":   flip(8),
		"signature missing":      good[:len(good)-72],
		"SHA-1":                  sha1RSA,
		"PSS":                    mustCSR(t, rsaKey, &x509.CertificateRequest{SignatureAlgorithm: x509.SHA256WithRSAPSS}),
		"a certificate":          newTestCA(t, ECDSAP256).issuing.Raw,
		"oversize":               mustCSR(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: strings.Repeat("x", MaxCSR)}}),
		"algorithm without null": bytes.Replace(mustCSR(t, rsaKey, &x509.CertificateRequest{}), mustHex("300d06092a864886f70d01010b0500"), mustHex("300d06092a864886f70d01010b0400"), 1),
	}
	for name, der := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseCSR(der); !errors.Is(err, ErrBadCSR) || !got.IsZero() {
				t.Fatalf("error %v", err)
			}
		})
	}
	for i := range good {
		if _, err := ParseCSR(good[:i]); !errors.Is(err, ErrBadCSR) {
			t.Fatalf("truncated to %d bytes: %v", i, err)
		}
	}
}

// Invariant 9: weak keys are refused in requests that are signed with them.
func TestCSRsWithWeakKeysAreRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := mustHexInt(t, "e6cb5bdd80aa45ae9c95e8c15476679ffec953c16851e711e743939589c64fc1").Bytes()
	published, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"RSA 1024": small, "P-521": p521, "RFC 9500": published} {
		if _, err := ParseCSR(mustCSR(t, key, &x509.CertificateRequest{})); !errors.Is(err, ErrWeakKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Huge keys and hostile nesting cost next to nothing: they are refused by size before any arithmetic.
func TestHostileCSRsAreCheapToRefuse(t *testing.T) {
	key := mustKey(t, ECDSAP256).(*ecdsa.PrivateKey)
	huge := new(big.Int).Lsh(big.NewInt(1), 8*7000)
	hugeRSA, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: huge.SetBit(huge, 0, 1), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{
		"RSA with 56000 bits": craft(t, key, 0, hugeRSA, func(*cryptobyte.Builder) {}),
		"1 MiB of nesting":    bytes.Repeat([]byte{0x30, 0x83, 0x0f, 0xff, 0xf0}, 1<<20/5),
		"1 MiB of zeros":      make([]byte, 1<<20),
		"1 MiB of PEM":        bytes.Repeat([]byte("-----BEGIN CERTIFICATE REQUEST-----\n"), 1<<20/36),
	} {
		var err error
		took := costtest.Measure(t, func() { _, err = ParseCSR(der) })
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if took > time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
}

// hostileRequest asks for everything that a request can ask for.
func hostileRequest(text string) *x509.CertificateRequest {
	constraints := []byte{0x30, 3, 1, 1, 0xff}
	return &x509.CertificateRequest{
		Subject:        pkix.Name{CommonName: text, Organization: []string{"system:masters", text}},
		DNSNames:       []string{"*", "*.example.org", text, "localhost"},
		EmailAddresses: []string{"root@example.org"},
		IPAddresses:    []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1)},
		URIs:           []*url.URL{{Scheme: "spiffe", Host: "prod.example.org", Path: "/handfast/operator/eve"}},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: constraints},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: []byte{0x30, 0}},
		},
	}
}

// onlyPolicyNames reports what of cert did not come from s.
func onlyPolicyNames(t testing.TB, cert *x509.Certificate, s Subject, p *Profile) {
	t.Helper()
	var ips []string
	for _, ip := range s.IPs {
		ips = append(ips, ip.String())
	}
	var got []string
	for _, ip := range cert.IPAddresses {
		got = append(got, ip.String())
	}
	switch {
	case !slices.Equal(cert.DNSNames, s.DNSNames), !slices.Equal(got, ips), len(cert.EmailAddresses) != 0:
		t.Fatalf("names %v %v %v", cert.DNSNames, got, cert.EmailAddresses)
	case len(cert.URIs) != 1 || cert.URIs[0].String() != s.ID.String():
		t.Fatalf("URIs %v", cert.URIs)
	case cert.Subject.String() != "CN="+s.ID.Path():
		t.Fatalf("subject %s", cert.Subject)
	case cert.IsCA || cert.KeyUsage != x509.KeyUsageDigitalSignature || len(cert.ExtKeyUsage) != 2 || len(cert.UnknownExtKeyUsage) != 0:
		t.Fatalf("CA %t, usage %v %v %v", cert.IsCA, cert.KeyUsage, cert.ExtKeyUsage, cert.UnknownExtKeyUsage)
	case len(cert.Extensions) != len((&Draft{profile: p, subject: s}).wanted(false, nil)):
		t.Fatalf("%d extensions", len(cert.Extensions))
	}
}

// Invariant 8: names in a certificate come from policy only; nothing of the CSR but its key.
func FuzzNothingOfTheCSRButItsKey(f *testing.F) {
	ca := newTestCA(f, ECDSAP256)
	p := ca.compile(f, ServiceDefault(), testEndpoints())
	key := mustKey(f, Ed25519)
	for _, text := range []string{"evil.example.org", "*", "payments/api", "a\x00b", "a\nb", "{{.Token}}", "$(id)", "', DROP TABLE", "CN=x,O=y", "\xff\xfe", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		der, err := x509.CreateCertificateRequest(rand.Reader, hostileRequest(text), key)
		if err != nil || len(der) > MaxCSR {
			t.Skip("no such request can be made")
		}
		pub, err := ParseCSR(der)
		if err != nil {
			t.Fatalf("attributes made it unreadable: %v", err)
		}
		s := testSubject(t, pub)
		cert, err := x509.ParseCertificate(ca.issue(t, p, s, epoch()).DER)
		if err != nil {
			t.Fatal(err)
		}
		onlyPolicyNames(t, cert, s, p)
		if !sameKey(cert.PublicKey, key.Public()) {
			t.Fatal("another key")
		}
	})
}

// FuzzParseCSR: whatever is accepted is small, parses elsewhere too, proves possession by the
// standard library's verdict, and gives the same key there.
func FuzzParseCSR(f *testing.F) {
	for _, a := range []Algorithm{ECDSAP256, ECDSAP384, Ed25519, RSA2048} {
		f.Add(mustCSR(f, mustKey(f, a), hostileRequest("seed")))
		f.Add(mustCSR(f, mustKey(f, a), &x509.CertificateRequest{}))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, der []byte) {
		key, err := ParseCSR(der)
		if err != nil {
			if !errors.Is(err, ErrBadCSR) && !errors.Is(err, ErrWeakKey) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if len(der) > MaxCSR {
			t.Fatalf("%d bytes accepted", len(der))
		}
		standard, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return // attributes that crypto/x509 reads and this package does not
		}
		if err := standard.CheckSignature(); err != nil {
			t.Fatalf("accepted without proof of possession: %v", err)
		}
		if !sameKey(standard.PublicKey, key.Key()) {
			t.Fatal("crypto/x509 finds another key")
		}
	})
}
