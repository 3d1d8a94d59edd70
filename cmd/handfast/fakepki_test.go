package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/harness"
)

const testDomain = "example.org"

// pki is a root, an intermediate and what they sign, made with the standard library
// alone, so that a fault of the project's own issuer cannot hide one of the CLI.
type pki struct {
	td         certs.TrustDomain
	root       *x509.Certificate
	rootKey    crypto.Signer
	issuer     *x509.Certificate
	issuerKey  crypto.Signer
	publicBase string // http://host:port of OCSP and CRLs; "" leaves them out
	now        time.Time
}

func newPKI(t testing.TB, publicBase string) *pki {
	t.Helper()
	td, err := certs.ParseTrustDomain(testDomain)
	fatal(t, err)
	p := &pki{td: td, publicBase: publicBase, now: time.Now().Truncate(time.Second), rootKey: newKey(t), issuerKey: newKey(t)}
	p.root = p.sign(t, authority("Test Root", p.now, 1), nil, p.rootKey.Public(), p.rootKey)
	template := authority("Test Issuer", p.now, 0)
	p.addURLs(template, p.root, "")
	p.issuer = p.sign(t, template, p.root, p.issuerKey.Public(), p.rootKey)
	return p
}

func authority(name string, now time.Time, pathLen int) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: randomSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * 365 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// leaf describes a certificate to sign.
type leaf struct {
	path                string // of the SPIFFE ID
	dns                 []string
	notBefore, notAfter time.Duration // from now
	noURLs              bool
	shard               string // of the CRL, such as "4/1"
	serial              *big.Int
}

func (p *pki) leaf(t testing.TB, l leaf, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: l.serial, NotBefore: p.now.Add(l.notBefore), NotAfter: p.now.Add(l.notAfter),
		URIs: []*url.URL{{Scheme: "spiffe", Host: testDomain, Path: "/" + l.path}}, DNSNames: l.dns,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if template.SerialNumber == nil {
		template.SerialNumber = randomSerial()
	}
	if !l.noURLs {
		p.addURLs(template, p.issuer, l.shard)
	}
	return p.sign(t, template, p.issuer, pub, p.issuerKey)
}

func (p *pki) addURLs(template, issuer *x509.Certificate, shard string) {
	if p.publicBase == "" {
		return
	}
	place := p.publicBase + "/crl/" + keyID(issuer)
	if shard != "" {
		place += "/" + shard
	}
	template.CRLDistributionPoints = []string{place + ".crl"}
	if issuer == p.issuer {
		template.OCSPServer = []string{p.publicBase + "/ocsp"}
	}
}

func (p *pki) sign(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	fatal(t, err)
	cert, err := x509.ParseCertificate(der)
	fatal(t, err)
	return cert
}

// crl makes a CRL of issuer; a non-empty point makes it the partition that belongs there.
func (p *pki) crl(t testing.TB, issuer *x509.Certificate, signer crypto.Signer, point string, revoked []x509.RevocationListEntry) []byte {
	t.Helper()
	template := &x509.RevocationList{
		Number: big.NewInt(7), ThisUpdate: p.now.Add(-time.Minute), NextUpdate: p.now.Add(time.Hour), RevokedCertificateEntries: revoked,
	}
	if point != "" {
		name, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(point)})
		fatal(t, err)
		for _, wrap := range []int{0, 0} { // fullName, distributionPoint
			name, err = asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: wrap, IsCompound: true, Bytes: name})
			fatal(t, err)
		}
		value, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: name})
		fatal(t, err)
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: value}}
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, issuer, signer)
	fatal(t, err)
	return der
}

// serverCertificate is the CA's own: the identity that every client demands.
func (p *pki) serverCertificate(t testing.TB, path string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	cert := p.leaf(t, leaf{path: path, notBefore: -time.Minute, notAfter: time.Hour}, key.Public())
	return tls.Certificate{Certificate: [][]byte{cert.Raw, p.issuer.Raw, p.root.Raw}, PrivateKey: key, Leaf: cert}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	return key
}

func randomSerial() *big.Int {
	octets := make([]byte, 20)
	rand.Read(octets) //nolint:errcheck // never fails since Go 1.24
	octets[0] = octets[0]&0x3f | 0x40
	return new(big.Int).SetBytes(octets)
}

func keyID(cert *x509.Certificate) string { return hex.EncodeToString(cert.SubjectKeyId) }

func certificatePEM(list ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, cert := range list {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return b.Bytes()
}

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	fatal(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// unusedAddress is a loopback address where nothing listens.
func unusedAddress(t testing.TB) string {
	t.Helper()
	address, err := harness.FreeAddress()
	fatal(t, err)
	return address
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
