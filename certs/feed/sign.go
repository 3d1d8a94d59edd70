package feed

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"github.com/handfast/handfast/certs/internal/der"
)

// signingPath is the SPIFFE ID's path of whoever may sign statements.
const signingPath = "/handfast/feed"

// scheme is one way of signing: its AlgorithmIdentifier in DER and how the standard library calls it.
type scheme struct {
	identifier string
	algorithm  x509.SignatureAlgorithm
	hash       crypto.Hash // 0: the message itself is signed
}

var schemes = []scheme{
	{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02", x509.ECDSAWithSHA256, crypto.SHA256},
	{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03", x509.ECDSAWithSHA384, crypto.SHA384},
	{"\x30\x05\x06\x03\x2b\x65\x70", x509.PureEd25519, 0},
}

func schemeOf(public crypto.PublicKey) (scheme, error) {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return schemes[0], nil
		case elliptic.P384():
			return schemes[1], nil
		}
	case ed25519.PublicKey:
		return schemes[2], nil
	}
	return scheme{}, fmt.Errorf("statements are signed with P-256, P-384 or Ed25519, not with a %T", public)
}

// Sign encodes s and signs it with signer, whose certificate this is: Open names it by
// its SHA-256. The result is SEQUENCE { content, AlgorithmIdentifier, signature BIT STRING } in DER. Times are
// cut to milliseconds. It fails when s contradicts itself or the key is not a P-256, P-384 or Ed25519 one.
// A nil random is crypto/rand.
func (s *Statement) Sign(signer crypto.Signer, certificate *x509.Certificate, random io.Reader) ([]byte, error) {
	if random == nil {
		random = rand.Reader
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	if public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(certificate.PublicKey) {
		return nil, errors.New("sign statement: the key does not belong to the certificate")
	}
	by, err := schemeOf(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	content, err := s.encode(sha256.Sum256(certificate.Raw))
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	digest := content
	if by.hash != 0 {
		h := by.hash.New()
		h.Write(content)
		digest = h.Sum(nil)
	}
	signature, err := signer.Sign(random, digest, by.hash)
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	signed := make([]byte, 0, len(content)+256)
	signed = der.Append(signed, der.Sequence, content, []byte(by.identifier), der.Append(nil, der.BitString, []byte{0}, signature))
	if len(signed) > maxStatementSize {
		return nil, fmt.Errorf("sign statement: it has %d bytes; at most %d are allowed", len(signed), maxStatementSize)
	}
	return signed, nil
}

// Open reads what Sign wrote. key returns the certificate with this SHA-256, after it was
// checked as certs.CheckFeedSigner does; its error is returned. The signature is checked over the exact
// bytes before any of the content but the signer's name is read, and the statement has to be of
// the trust domain in the certificate's SPIFFE ID. Everything is strict: one spelling, nothing
// behind it, at most 64 MiB. signed is not kept.
func Open(signed []byte, key func(signer [sha256.Size]byte) (*x509.Certificate, error)) (*Statement, error) {
	if len(signed) > maxStatementSize {
		return nil, fmt.Errorf("open statement: it has %d bytes; at most %d are allowed", len(signed), maxStatementSize)
	}
	content, algorithm, signature, err := split(signed)
	if err != nil {
		return nil, fmt.Errorf("open statement: %w", err)
	}
	signer, err := signerOf(content)
	if err != nil {
		return nil, fmt.Errorf("open statement: %w", err)
	}
	certificate, err := key(signer)
	if err != nil {
		return nil, fmt.Errorf("open statement: its signer is not accepted: %w", err)
	}
	if sha256.Sum256(certificate.Raw) != signer {
		return nil, fmt.Errorf("open statement: %w: it names another signer", ErrSignature)
	}
	by, err := schemeOf(certificate.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("open statement: %w", err)
	}
	if !bytes.Equal(algorithm, []byte(by.identifier)) {
		return nil, fmt.Errorf("open statement: %w: its algorithm is not the key's", ErrSignature)
	}
	if err := certificate.CheckSignature(by.algorithm, content, signature); err != nil {
		return nil, fmt.Errorf("open statement: %w", ErrSignature)
	}
	s, err := decode(content)
	if err != nil {
		return nil, fmt.Errorf("open statement: %w", err)
	}
	if len(certificate.URIs) != 1 || certificate.URIs[0].String() != "spiffe://"+s.TrustDomain+signingPath {
		return nil, fmt.Errorf("open statement: %w: it is of %q, its signer is not", ErrDomain, s.TrustDomain)
	}
	return s, nil
}

// split takes the envelope apart.
func split(signed []byte) (content, algorithm der.Value, signature []byte, err error) {
	outer := der.Value(signed)
	envelope, _, err := outer.Read(der.Sequence)
	if err != nil || len(outer) > 0 {
		return nil, nil, nil, der.ErrMalformed
	}
	_, content, err1 := envelope.Read(der.Sequence)
	_, algorithm, err2 := envelope.Read(der.Sequence)
	bits, _, err3 := envelope.Read(der.BitString)
	if err := errors.Join(err1, err2, err3); err != nil || len(envelope) > 0 || len(bits) < 2 || bits[0] != 0 {
		return nil, nil, nil, der.ErrMalformed
	}
	return content, algorithm, bits[1:], nil
}
