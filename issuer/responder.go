package issuer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Responder signs OCSP responses with a delegated key (RFC 6960, section 4.2.2.2), so
// that the issuer's own key stays out of the hot path. It is safe for concurrent use.
type Responder struct {
	signer tbsSigner
}

// NewResponderKey makes a key for a delegated responder; "" is ECDSAP256. It lives
// in memory only: a restart makes another one.
func NewResponderKey(a Algorithm) (crypto.Signer, error) {
	if a == "" {
		a = ECDSAP256
	}
	if !slices.Contains(CAAlgorithms(), a) {
		return nil, fmt.Errorf("an OCSP responder's key may not be %s", a)
	}
	return GenerateKey(a)
}

// NewResponder returns the responder for a certificate of the profile [OCSPResponder].
func NewResponder(key crypto.Signer, certDER []byte) (*Responder, error) {
	if key == nil {
		return nil, errors.New("OCSP responder: the key is missing")
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("OCSP responder: %w", err)
	}
	if !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return nil, errors.New("OCSP responder: the certificate lacks the extended key usage OCSPSigning")
	}
	hasNoCheck := func(e pkix.Extension) bool { return e.Id.String() == "1.3.6.1.5.5.7.48.1.5" }
	if !slices.ContainsFunc(cert.Extensions, hasNoCheck) {
		return nil, errors.New("OCSP responder: the certificate lacks id-pkix-ocsp-nocheck")
	}
	s, err := newTBSSigner(key, cert)
	if err != nil {
		return nil, fmt.Errorf("OCSP responder: %w", err)
	}
	return &Responder{signer: s}, nil
}

// Certificate returns the responder's certificate. The caller does not change it.
func (r *Responder) Certificate() *x509.Certificate { return r.signer.cert }

// SignatureAlgorithm returns the DER AlgorithmIdentifier that this responder signs with.
func (r *Responder) SignatureAlgorithm() []byte { return bytes.Clone(r.signer.algorithm) }

// SignResponse signs tbs, a DER ResponseData (RFC 6960, section 4.2.1), and returns
// the signature as it stands in the BIT STRING. Anything of another shape is refused.
func (r *Responder) SignResponse(tbs []byte) ([]byte, error) {
	input := cryptobyte.String(tbs)
	var data cryptobyte.String
	version := asn1.Tag(0).ContextSpecific().Constructed()
	extensions := asn1.Tag(1).ContextSpecific().Constructed()
	byName := asn1.Tag(1).ContextSpecific().Constructed()
	byKey := asn1.Tag(2).ContextSpecific().Constructed()
	if !input.ReadASN1(&data, asn1.SEQUENCE) || !input.Empty() ||
		!data.SkipOptionalASN1(version) ||
		!data.PeekASN1Tag(byName) && !data.PeekASN1Tag(byKey) ||
		!data.SkipASN1(asn1.Tag(data[0])) ||
		!data.SkipASN1(asn1.GeneralizedTime) ||
		!data.SkipASN1(asn1.SEQUENCE) ||
		!data.SkipOptionalASN1(extensions) || !data.Empty() {
		return nil, errors.New("sign OCSP response: not a ResponseData")
	}
	return r.signer.sign(tbs)
}
