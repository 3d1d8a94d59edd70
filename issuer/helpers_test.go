package issuer

import (
	"crypto"
	"crypto/x509"
	"net/netip"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// epoch is the time that most tests call now.
func epoch() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func mustTrustDomain(t testing.TB, name string) certs.TrustDomain {
	t.Helper()
	td, err := certs.ParseTrustDomain(name)
	if err != nil {
		t.Fatal(err)
	}
	return td
}

func mustID(t testing.TB, s string) certs.ID {
	t.Helper()
	id, err := certs.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustKey(t testing.TB, a Algorithm) crypto.Signer {
	t.Helper()
	key, err := GenerateKey(a)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func mustCheckKey(t testing.TB, pub crypto.PublicKey) PublicKey {
	t.Helper()
	key, err := CheckKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// testCA is a root and one issuer below it.
type testCA struct {
	rootKey, issuingKey crypto.Signer
	root, issuing       *x509.Certificate
	issuer              *Issuer
}

func newTestCA(t testing.TB, a Algorithm) testCA {
	t.Helper()
	return newTestCAFrom(t, a, epoch().Add(-time.Hour))
}

func newTestCAFrom(t testing.TB, a Algorithm, from time.Time) testCA {
	t.Helper()
	td := mustTrustDomain(t, "prod.example.org")
	ca := testCA{rootKey: mustKey(t, a), issuingKey: mustKey(t, a)}
	var err error
	ca.root, err = NewRoot(ca.rootKey, RootRequest{TrustDomain: td, NotBefore: from})
	if err != nil {
		t.Fatal(err)
	}
	ca.issuing, err = NewIntermediate(ca.root, ca.rootKey, ca.issuingKey.Public(), IntermediateRequest{
		TrustDomain: td, NotBefore: from,
		CRL: "http://pki.example.org/crl/" + KeyID(ca.root) + ".crl", CAIssuers: "http://pki.example.org/ca/" + KeyID(ca.root) + ".crt",
	})
	if err != nil {
		t.Fatal(err)
	}
	ca.issuer, err = New([]*x509.Certificate{ca.issuing}, ca.issuingKey)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func testEndpoints() Endpoints {
	return Endpoints{
		OCSP:        "http://pki.example.org/ocsp",
		CAIssuers:   "http://pki.example.org/ca/issuing.crt",
		CRL:         func(s certs.Serial) string { return "http://pki.example.org/crl/16/" + s.String()[:1] + ".crl" },
		FreshestCRL: func(s certs.Serial) string { return "http://pki.example.org/crl/16/" + s.String()[:1] + "-delta.crl" },
	}
}

// compile compiles c for the tests' trust domain.
func (ca testCA) compile(t testing.TB, c ProfileConfig, e Endpoints) *Profile {
	t.Helper()
	c.TrustDomain = mustTrustDomain(t, "prod.example.org")
	p, err := ca.issuer.Compile(c, e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (ca testCA) issue(t testing.TB, p *Profile, s Subject, now time.Time) *Certificate {
	t.Helper()
	draft, err := p.Draft(s, now)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := draft.Check()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.issuer.Sign(checked)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func testSubject(t testing.TB, key PublicKey) Subject {
	t.Helper()
	return Subject{
		ID:       mustID(t, "spiffe://prod.example.org/payments/api"),
		DNSNames: []string{"payments.svc.cluster.local", "payments_2.example.org"},
		IPs:      []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8::7")},
		Key:      key,
	}
}

func mustIDZero() certs.ID { return certs.ID{} }

// addrs returns one address; "" is the zero one.
func addrs(s string) []netip.Addr {
	if s == "" {
		return []netip.Addr{{}}
	}
	return []netip.Addr{netip.MustParseAddr(s)}
}
