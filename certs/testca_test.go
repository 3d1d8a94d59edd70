package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"
)

const testCDP = "http://ca.example.test/crl"

// authority is a CA in a test. Its certificates begin an hour before now and end a day after it.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
	now  time.Time
	next int64
}

// change is a change to a certificate's template.
type change func(*x509.Certificate)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func caTemplate(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

func newRoot(t testing.TB, name string, now time.Time, changes ...change) *authority {
	t.Helper()
	key := newKey(t)
	template := caTemplate(name, now)
	for _, c := range changes {
		c(template)
	}
	return &authority{t: t, cert: sign(t, template, template, key.Public(), key), key: key, now: now, next: 1}
}

func (a *authority) intermediate(name string, changes ...change) *authority {
	a.t.Helper()
	key := newKey(a.t)
	template := caTemplate(name, a.now)
	template.MaxPathLenZero = true
	for _, c := range changes {
		c(template)
	}
	return &authority{t: a.t, cert: sign(a.t, template, a.cert, key.Public(), a.key), key: key, now: a.now, next: 1}
}

// leaf issues an X.509-SVID with both usages and a CRL distribution point.
func (a *authority) leaf(id string, changes ...change) *tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	a.next++
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(0x1000 + a.next),
		NotBefore:             a.now.Add(-time.Minute),
		NotAfter:              a.now.Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		CRLDistributionPoints: []string{testCDP},
	}
	if id != "" {
		uri, err := url.Parse(id)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = []*url.URL{uri}
	}
	for _, c := range changes {
		c(template)
	}
	cert := sign(a.t, template, a.cert, key.Public(), a.key)
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, a.cert.Raw}, PrivateKey: key, Leaf: cert}
}

// chainOf parses what a leaf's owner would send, and more below it.
func chainOf(t testing.TB, own *tls.Certificate, more ...*authority) []*x509.Certificate {
	t.Helper()
	chain, err := parseAll(own.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range more {
		chain = append(chain, a.cert)
	}
	return chain
}

// crlChange is a change to a CRL's template.
type crlChange func(*x509.RevocationList)

func (a *authority) crl(number int64, revoked []*x509.Certificate, changes ...crlChange) []byte {
	a.t.Helper()
	template := &x509.RevocationList{
		Number:     big.NewInt(number),
		ThisUpdate: a.now.Add(-time.Minute),
		NextUpdate: a.now.Add(2 * time.Hour),
	}
	for _, cert := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: cert.SerialNumber, RevocationTime: a.now.Add(-time.Second), ReasonCode: int(KeyCompromise),
		})
	}
	for _, c := range changes {
		c(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func withExtension(oid asn1.ObjectIdentifier, critical bool, value []byte) pkix.Extension {
	return pkix.Extension{Id: oid, Critical: critical, Value: value}
}

// world is a trust domain in a test: a root, an issuer and their CRLs.
type world struct {
	td     TrustDomain
	root   *authority
	issuer *authority
	now    time.Time
}

func newWorld(t testing.TB, now time.Time) *world {
	t.Helper()
	root := newRoot(t, "root", now)
	return &world{td: mustDomain(t, "prod.test"), root: root, issuer: root.intermediate("issuer"), now: now}
}

func mustDomain(t testing.TB, name string) TrustDomain {
	t.Helper()
	td, err := ParseTrustDomain(name)
	if err != nil {
		t.Fatal(err)
	}
	return td
}

func mustID(t testing.TB, s string) ID {
	t.Helper()
	id, err := ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustBundle(t testing.TB, td TrustDomain, roots ...*authority) *Bundle {
	t.Helper()
	var anchors []*x509.Certificate
	for _, root := range roots {
		anchors = append(anchors, root.cert)
	}
	b, err := NewBundle(td, anchors)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustRevocation(t testing.TB, crls ...[]byte) *Revocation {
	t.Helper()
	r, err := NewRevocation(crls)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// revocation is the issuer's CRL with these certificates on it.
func (w *world) revocation(t testing.TB, number int64, revoked ...*x509.Certificate) *Revocation {
	t.Helper()
	return mustRevocation(t, w.issuer.crl(number, revoked))
}

// trust is what a verifier needs, with no certificate revoked.
func (w *world) trust(t testing.TB) *Snapshot {
	t.Helper()
	return &Snapshot{Bundle: mustBundle(t, w.td, w.root), Revocation: w.revocation(t, 1)}
}

// snapshot is the full state of the service at path, callable by callers.
func (w *world) snapshot(t testing.TB, path string, callers ...string) *Snapshot {
	t.Helper()
	id := "spiffe://" + w.td.String() + "/" + path
	policy, err := NewPolicy(mustID(t, id), callers)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := NewSnapshot(w.issuer.leaf(id), []*x509.Certificate{w.root.cert}, policy, w.revocation(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func pemOf(kind string, ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return out
}

// causeOf is the cause of a refusal, or "" for nil.
func causeOf(t testing.TB, err error) Cause {
	t.Helper()
	if err == nil {
		return ""
	}
	refusal := HandshakeRefusal(err)
	if refusal == nil {
		t.Fatalf("%v (%T) is no refusal", err, err)
	}
	return refusal.Cause
}
