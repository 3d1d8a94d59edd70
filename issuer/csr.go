package issuer

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// MaxCSR is the largest certificate request that ParseCSR looks at, in bytes. An
// RSA-4096 request with generous attributes takes 2 KiB.
const MaxCSR = 8 << 10

// ParseCSR reads a DER-encoded PKCS #10 certificate request (RFC 2986) and returns
// its public key, after [CheckKey] and after the request's signature has proven that
// the sender holds the private key. Nothing else in the request is used: subject
// and attributes (so also the names in an extensionRequest) are skipped unread.
//
// Errors wrap ErrBadCSR (malformed, oversize, wrong signature) or ErrWeakKey.
func ParseCSR(der []byte) (PublicKey, error) {
	request, err := splitCSR(der)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrBadCSR, err)
	}
	// Sizes are judged before the signature is verified: verification with a huge key
	// is how one request burns much of the CA's time.
	key, err := parseKey(request.spki)
	if err != nil {
		return PublicKey{}, err
	}
	verifier := x509.Certificate{PublicKey: key.key, PublicKeyAlgorithm: request.algorithm.key}
	if err := verifier.CheckSignature(request.algorithm.signature, request.signed, request.signature); err != nil {
		return PublicKey{}, fmt.Errorf("%w: its signature does not verify, so it does not prove possession of the private key", ErrBadCSR)
	}
	return key, nil
}

// parseKey is [CheckKey] of an encoded SubjectPublicKeyInfo.
func parseKey(spki []byte) (PublicKey, error) {
	if key, ok, err := parseP256(spki); ok {
		return key, err
	}
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: public key cannot be read (use ECDSA P-256 or P-384, Ed25519 or RSA)", ErrBadCSR)
	}
	return CheckKey(pub)
}

// csrParts are slices of one request. What was signed is what was parsed: spki lies inside signed.
type csrParts struct {
	signed    []byte // CertificationRequestInfo, whole
	spki      []byte
	algorithm csrAlgorithm
	signature []byte
}

func splitCSR(der []byte) (csrParts, error) {
	if len(der) > MaxCSR {
		return csrParts{}, fmt.Errorf("it has %d bytes; at most %d are accepted", len(der), MaxCSR)
	}
	malformed := errors.New("it is not a DER-encoded PKCS #10 request")
	if bytes.HasPrefix(der, []byte("-----BEGIN")) {
		return csrParts{}, errors.New("it is PEM; send the DER inside")
	}
	input := cryptobyte.String(der)
	var outer, info, algorithm cryptobyte.String
	if !input.ReadASN1(&outer, asn1.SEQUENCE) {
		return csrParts{}, malformed
	}
	if !input.Empty() {
		return csrParts{}, errors.New("there is trailing data after it")
	}
	var parts csrParts
	var infoElement cryptobyte.String
	if !outer.ReadASN1Element(&infoElement, asn1.SEQUENCE) ||
		!outer.ReadASN1Element(&algorithm, asn1.SEQUENCE) ||
		!outer.ReadASN1BitStringAsBytes(&parts.signature) || !outer.Empty() {
		return csrParts{}, malformed
	}
	parts.signed = infoElement
	if !infoElement.ReadASN1(&info, asn1.SEQUENCE) {
		return csrParts{}, malformed
	}
	var err error
	if parts.spki, err = splitInfo(info); err != nil {
		return csrParts{}, err
	}
	parts.algorithm, err = csrAlgorithmOf(algorithm)
	return parts, err
}

// splitInfo reads a CertificationRequestInfo's content.
func splitInfo(info cryptobyte.String) ([]byte, error) {
	malformed := errors.New("its CertificationRequestInfo is malformed")
	var version int
	if !info.ReadASN1Integer(&version) {
		return nil, malformed
	}
	if version != 0 {
		return nil, fmt.Errorf("it has version %d; PKCS #10 has 0", version)
	}
	var spki cryptobyte.String
	attributes := asn1.Tag(0).ContextSpecific().Constructed()
	if !info.SkipASN1(asn1.SEQUENCE) || // the subject, unread
		!info.ReadASN1Element(&spki, asn1.SEQUENCE) ||
		!info.SkipOptionalASN1(attributes) || // unread, and missing in some encoders' output
		!info.Empty() {
		return nil, malformed
	}
	return spki, nil
}

// csrAlgorithm is how a request is signed.
type csrAlgorithm struct {
	signature x509.SignatureAlgorithm
	key       x509.PublicKeyAlgorithm
}

// csrAlgorithmOf knows whole AlgorithmIdentifiers, parameters included, in hexadecimal DER.
func csrAlgorithmOf(der []byte) (csrAlgorithm, error) {
	switch hex.EncodeToString(der) {
	case "300a06082a8648ce3d040302":
		return csrAlgorithm{x509.ECDSAWithSHA256, x509.ECDSA}, nil
	case "300a06082a8648ce3d040303":
		return csrAlgorithm{x509.ECDSAWithSHA384, x509.ECDSA}, nil
	case "300a06082a8648ce3d040304":
		return csrAlgorithm{x509.ECDSAWithSHA512, x509.ECDSA}, nil
	case "300506032b6570":
		return csrAlgorithm{x509.PureEd25519, x509.Ed25519}, nil
	case "300d06092a864886f70d01010b0500":
		return csrAlgorithm{x509.SHA256WithRSA, x509.RSA}, nil
	case "300d06092a864886f70d01010c0500":
		return csrAlgorithm{x509.SHA384WithRSA, x509.RSA}, nil
	case "300d06092a864886f70d01010d0500":
		return csrAlgorithm{x509.SHA512WithRSA, x509.RSA}, nil
	default:
		return csrAlgorithm{}, errors.New("its signature algorithm is not accepted (use ECDSA or RSA PKCS #1 v1.5 with SHA-256, SHA-384 or SHA-512, or Ed25519)")
	}
}
