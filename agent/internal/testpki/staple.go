package testpki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"

	"golang.org/x/crypto/ocsp" // another's encoder, so that our reader is not tested by itself

	"github.com/handfast/handfast/certs"
)

// mustStaple is the TLS feature extension with status_request (RFC 7633).
var mustStaple = pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}

// pointers are what Issue puts into certificates about OCSP.
func (p *PKI) pointers(template *x509.Certificate) {
	if p.OCSP != "" {
		template.OCSPServer = []string{p.OCSP}
	}
	if p.MustStaple {
		template.ExtraExtensions = append(template.ExtraExtensions, mustStaple)
	}
}

// Staple is the OCSP response of a delegated responder about leaf, from now on for life. status
// is ocsp.Good or a sibling of it.
func (p *PKI) Staple(leaf *x509.Certificate, status int, life time.Duration) []byte {
	p.t.Helper()
	key, now := NewKey(p.t), p.Now()
	responder := p.sign(&x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Test Responder"},
		NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(0, 0, 7),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}},
	}, p.Issuing, key.Public(), p.issueKey)
	response, err := ocsp.CreateResponse(p.Issuing, responder, ocsp.Response{
		Status: status, SerialNumber: leaf.SerialNumber, Certificate: responder,
		ThisUpdate: now.UTC(), NextUpdate: now.Add(life).UTC(), RevokedAt: now.UTC(), RevocationReason: int(certs.KeyCompromise),
	}, key)
	if err != nil {
		p.t.Fatal(err)
	}
	return response
}
