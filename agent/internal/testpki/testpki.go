// Package testpki is a small CA for the tests of agent and its rooms. It has no policy:
// it signs what a test asks for, wrong things included.
package testpki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// PKI is a root, an issuing intermediate and what they need. Only Issue and CRL are safe
// for concurrent use.
type PKI struct {
	t        testing.TB
	TD       certs.TrustDomain
	Root     *x509.Certificate
	Issuing  *x509.Certificate
	rootKey  crypto.Signer
	issueKey crypto.Signer
	Now      func() time.Time
	// OCSP is the responder that certificates name, "" for none; MustStaple makes them demand a staple.
	OCSP       string
	MustStaple bool
	crlNumber  atomic.Int64
}

// New makes a PKI whose clock is now (nil: time.Now). Roots live for ten years.
func New(t testing.TB, domain string, now func() time.Time) *PKI {
	t.Helper()
	td, err := certs.ParseTrustDomain(domain)
	if err != nil {
		t.Fatal(err)
	}
	if now == nil {
		now = time.Now
	}
	p := &PKI{t: t, TD: td, Now: now, rootKey: NewKey(t), issueKey: NewKey(t)}
	root := authority("Test Root", now())
	p.Root = p.sign(root, root, p.rootKey.Public(), p.rootKey)
	issuing := authority("Test Issuing", now())
	issuing.MaxPathLenZero = true
	p.Issuing = p.sign(issuing, p.Root, p.issueKey.Public(), p.rootKey)
	return p
}

// NewKey makes a P-256 key.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func authority(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	b[0] |= 0x40
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

func (p *PKI) sign(template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	p.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		p.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return cert
}

// ID returns the identity of the service at path.
func (p *PKI) ID(path string) certs.ID {
	p.t.Helper()
	id, err := p.TD.ID(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// Issue signs a leaf for pub that is valid from 30 seconds ago for life.
func (p *PKI) Issue(id certs.ID, pub crypto.PublicKey, life time.Duration) *x509.Certificate {
	p.t.Helper()
	from := p.Now().Add(-30 * time.Second)
	template := &x509.Certificate{
		SerialNumber: serial(), URIs: []*url.URL{id.URL()},
		NotBefore: from, NotAfter: from.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		CRLDistributionPoints: []string{"http://crl.test/" + p.IssuerID() + ".crl"},
	}
	p.pointers(template)
	return p.sign(template, p.Issuing, pub, p.issueKey)
}

// IssuerID is the issuing certificate's key id in hexadecimal.
func (p *PKI) IssuerID() string { return hex.EncodeToString(p.Issuing.SubjectKeyId) }

// Certificate makes a key and a leaf for it.
func (p *PKI) Certificate(id certs.ID, life time.Duration) *tls.Certificate {
	p.t.Helper()
	key := NewKey(p.t)
	leaf := p.Issue(id, key.Public(), life)
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, p.Issuing.Raw}, PrivateKey: key, Leaf: leaf}
}

// CRL signs the issuing certificate's next full CRL. It is good for a day.
func (p *PKI) CRL(revoked ...*x509.Certificate) []byte { return p.PaddedCRL(0, revoked...) }

// PaddedCRL is CRL with so many bytes that say nothing.
func (p *PKI) PaddedCRL(padding int, revoked ...*x509.Certificate) []byte {
	p.t.Helper()
	now := p.Now()
	template := &x509.RevocationList{Number: big.NewInt(p.crlNumber.Add(1)), ThisUpdate: now, NextUpdate: now.Add(24 * time.Hour)}
	if padding > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: make([]byte, padding)}}
	}
	for _, cert := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, p.Issuing, p.issueKey)
	if err != nil {
		p.t.Fatal(err)
	}
	return der
}

// Snapshot makes a fresh certificate for id, callers' policy and an empty CRL.
func (p *PKI) Snapshot(id certs.ID, life time.Duration, callers ...string) *certs.Snapshot {
	p.t.Helper()
	return p.SnapshotOf(p.Certificate(id, life), p.CRL(), callers...)
}

// SnapshotOf puts a snapshot together.
func (p *PKI) SnapshotOf(cert *tls.Certificate, crl []byte, callers ...string) *certs.Snapshot {
	p.t.Helper()
	id, err := certs.IDFromCertificate(cert.Leaf)
	if err != nil {
		p.t.Fatal(err)
	}
	policy, err := certs.NewPolicy(id, callers)
	if err != nil {
		p.t.Fatal(err)
	}
	revocation, err := certs.NewRevocation([][]byte{crl})
	if err != nil {
		p.t.Fatal(err)
	}
	snap, err := certs.NewSnapshot(cert, []*x509.Certificate{p.Root}, policy, revocation)
	if err != nil {
		p.t.Fatal(err)
	}
	return snap
}

// Source is a certs.Source that a test changes.
type Source struct {
	snap    atomic.Pointer[certs.Snapshot]
	changed atomic.Pointer[chan struct{}]
}

// NewSource makes a Source that holds snap; nil is not enrolled.
func NewSource(snap *certs.Snapshot) *Source {
	s := new(Source)
	changed := make(chan struct{})
	s.changed.Store(&changed)
	s.snap.Store(snap)
	return s
}

// Set publishes snap.
func (s *Source) Set(snap *certs.Snapshot) {
	next := make(chan struct{})
	s.snap.Store(snap)
	close(*s.changed.Swap(&next))
}

// Changed is closed at the next Set.
func (s *Source) Changed() <-chan struct{} { return *s.changed.Load() }

// Current implements certs.Source.
func (s *Source) Current() (*certs.Snapshot, error) {
	snap := s.snap.Load()
	if snap == nil {
		return nil, errNotEnrolled
	}
	return snap, nil
}

type sourceError string

func (e sourceError) Error() string { return string(e) }

const errNotEnrolled = sourceError("not enrolled")
