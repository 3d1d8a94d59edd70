package feed

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"math/big"
	"net/url"
	"testing"
	"time"
)

const (
	testDomain = "prod.test"
	issuerA    = "00112233445566778899aabbccddeeff00112233"
	issuerB    = "ffeeddccbbaa99887766554433221100ffeeddcc"
)

var testNow = time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)

// signer is who signs statements in a test.
type signer struct {
	key  crypto.Signer
	cert *x509.Certificate
}

func newSigner(t testing.TB, key crypto.Signer, uris ...string) *signer {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: testNow, NotAfter: testNow.Add(time.Hour)}
	for _, uri := range uris {
		parsed, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, parsed)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key, cert}
}

func newTestSigner(t testing.TB) *signer {
	t.Helper()
	return newSigner(t, ecKey(t, elliptic.P256()), "spiffe://"+testDomain+signingPath)
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (s *signer) sign(t testing.TB, statement *Statement) []byte {
	t.Helper()
	signed, err := statement.Sign(s.key, s.cert, nil)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// find is what Open asks for the signer's certificate.
func (s *signer) find(name [sha256.Size]byte) (*x509.Certificate, error) {
	if name != sha256.Sum256(s.cert.Raw) {
		return nil, errors.New("nobody known")
	}
	return s.cert, nil
}

func serial(n uint64) []byte {
	return append([]byte{1}, binary.BigEndian.AppendUint64(nil, n)...)
}

func entry(sequence uint64, kind Kind, n uint64) Entry {
	return Entry{
		Sequence: sequence, Kind: kind, Issuer: issuerA, Serial: serial(n), Reason: 1,
		At: testNow.Add(-time.Minute), NotAfter: testNow.Add(100 * 24 * time.Hour),
	}
}

// statement goes from from to to, signed at that second after testNow.
func statement(from, to uint64, second int, entries ...Entry) *Statement {
	signedAt := testNow.Add(time.Duration(second) * time.Second)
	return &Statement{
		TrustDomain: testDomain, From: from, To: to, SignedAt: signedAt, NextUpdate: signedAt.Add(time.Hour),
		Versions: []Version{{"policy", "7"}, {"bundle", "b1"}, {"later", "kept"}}, Issuers: []string{issuerA, issuerB}, Entries: entries,
	}
}

// snapshot says that these serials of issuerA are revoked at to.
func snapshot(to uint64, second int, serials ...uint64) *Statement {
	s := statement(0, to, second)
	var hashes []uint64
	for _, n := range serials {
		hashes = append(hashes, Hash(issuerA, serial(n)))
	}
	s.Snapshot = NewSet(hashes)
	return s
}

func apply(t testing.TB, v *View, statements ...*Statement) *View {
	t.Helper()
	for _, s := range statements {
		next, err := v.Apply(s, s.SignedAt)
		if err != nil {
			t.Fatalf("from %d to %d: %v", s.From, s.To, err)
		}
		v = next
	}
	return v
}
