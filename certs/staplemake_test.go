package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"
)

func tlvTime(t time.Time) []byte {
	return tlv(tagGeneralizedTime, []byte(t.UTC().Format("20060102150405Z")))
}

// stapleParts are the parts of an OCSP response, which a test changes before it is signed.
type stapleParts struct {
	outerStatus  []byte
	kind         []byte
	responderID  []byte
	producedAt   []byte
	certID       []byte
	certStatus   []byte
	thisUpdate   []byte
	nextUpdate   []byte // with its [0]
	singleExt    []byte
	more         []byte // after the one SingleResponse
	dataExt      []byte
	algorithm    []byte
	certificates []byte // with its [0]
	behind       []byte
	flip         bool // one bit of the signature
	key          crypto.Signer
}

// certIDFor names leaf as a request with this hash does.
func certIDFor(t testing.TB, hash crypto.Hash, leaf, issuer *x509.Certificate) []byte {
	t.Helper()
	key, err := subjectPublicKey(issuer)
	if err != nil {
		t.Fatal(err)
	}
	oid := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	if hash == crypto.SHA1 {
		oid = oidSHA1
	}
	id, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Name, Key []byte
		Serial    *big.Int
	}{pkix.AlgorithmIdentifier{Algorithm: oid}, hashOf(hash, issuer.RawSubject), hashOf(hash, key), leaf.SerialNumber})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// responder issues the certificate of a delegated OCSP responder.
func (a *authority) responder(changes ...change) *tls.Certificate {
	a.t.Helper()
	all := append([]change{func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "responder"}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
		c.CRLDistributionPoints = nil
		c.ExtraExtensions = []pkix.Extension{withExtension(oidOCSPNoCheck, false, []byte{5, 0})}
	}}, changes...)
	return a.leaf("spiffe://prod.test/handfast/ocsp", all...)
}

// staple is what an honest delegated responder says of leaf: good, for an hour from a minute ago on.
func (a *authority) staple(responder *tls.Certificate, leaf *x509.Certificate, changes ...func(*stapleParts)) []byte {
	a.t.Helper()
	key, err := subjectPublicKey(responder.Leaf)
	if err != nil {
		a.t.Fatal(err)
	}
	p := &stapleParts{
		outerStatus: []byte{tagEnumerated, 1, 0},
		kind:        tlv(tagObjectID, []byte(oidBasicResponse)),
		responderID: tlv(tagContext2, tlv(tagOctetString, hashOf(crypto.SHA1, key))),
		producedAt:  tlvTime(a.now),
		certID:      certIDFor(a.t, crypto.SHA1, leaf, a.cert),
		certStatus:  []byte{0x80, 0},
		thisUpdate:  tlvTime(a.now.Add(-time.Minute)), nextUpdate: tlv(tagContext0, tlvTime(a.now.Add(time.Hour))),
		algorithm:    []byte(ecdsaSHA256),
		certificates: tlv(tagContext0, tlv(tagSequence, responder.Certificate[0])),
		key:          responder.PrivateKey.(crypto.Signer),
	}
	for _, c := range changes {
		c(p)
	}
	return p.encode(a.t)
}

func (p *stapleParts) encode(t testing.TB) []byte {
	t.Helper()
	single := tlv(tagSequence, p.certID, p.certStatus, p.thisUpdate, p.nextUpdate, p.singleExt)
	tbs := tlv(tagSequence, p.responderID, p.producedAt, tlv(tagSequence, single, p.more), p.dataExt)
	digest := sha256.Sum256(tbs)
	signature, err := p.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if p.flip {
		signature[len(signature)-1] ^= 1
	}
	basic := tlv(tagSequence, tbs, p.algorithm, tlv(tagBitString, []byte{0}, signature), p.certificates)
	return append(tlv(tagSequence, p.outerStatus, tlv(tagContext0, tlv(tagSequence, p.kind, tlv(tagOctetString, basic)))), p.behind...)
}

// revokedStatus is a RevokedInfo with a reason.
func revokedStatus(at time.Time, reason Reason) []byte {
	return tlv(tagContext1, tlvTime(at), tlv(tagContext0, []byte{tagEnumerated, 1, byte(reason)}))
}

// mustStaple is the change that makes a leaf demand a staple.
func mustStaple(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, withExtension(oidTLSFeature, false, []byte{0x30, 3, 2, 1, 5}))
}
