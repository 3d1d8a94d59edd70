package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// tbsSigner signs encoded bytes with one certificate's key.
type tbsSigner struct {
	// signDigest is the key's Sign method. The key itself is not held: fmt walks through
	// pointers and unexported fields, but it cannot look into a function.
	signDigest func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error)

	cert      *x509.Certificate // for verification
	hash      crypto.Hash       // 0: the key signs the message itself (Ed25519)
	scheme    x509.SignatureAlgorithm
	algorithm []byte // AlgorithmIdentifier, DER
	verify    bool
}

func newTBSSigner(key crypto.Signer, cert *x509.Certificate) (tbsSigner, error) {
	if !sameKey(key.Public(), cert.PublicKey) {
		return tbsSigner{}, errors.New("the key does not belong to the certificate")
	}
	a, err := checkCAKey(cert.PublicKey)
	if err != nil {
		return tbsSigner{}, err
	}
	s := tbsSigner{signDigest: key.Sign, cert: cert, verify: needsVerification(key)}
	switch a {
	case ECDSAP256:
		s.hash, s.scheme, s.algorithm = crypto.SHA256, x509.ECDSAWithSHA256, mustHex("300a06082a8648ce3d040302")
	case ECDSAP384:
		s.hash, s.scheme, s.algorithm = crypto.SHA384, x509.ECDSAWithSHA384, mustHex("300a06082a8648ce3d040303")
	case Ed25519:
		s.scheme, s.algorithm = x509.PureEd25519, mustHex("300506032b6570")
	}
	return s, nil
}

// needsVerification decides whether each signature is verified before it is used,
// which for ECDSA takes twice as long as signing.
//
// Keys outside of this process (an HSM, a cloud's KMS) are verified: a device that
// glitches, or a middleware that hands back another session's answer, must not put a
// bad signature into the ledger. Ed25519 is verified wherever the key is: its signatures
// are deterministic, so that one faulty signature next to a good one of the same bytes
// gives the private key away. An ECDSA key in this process's memory is not: crypto/ecdsa
// draws its nonces from fresh randomness and the message together, so a fault yields a
// certificate that the agent refuses (it verifies what it receives) and nothing more.
func needsVerification(key crypto.Signer) bool {
	_, inMemory := key.(*ecdsa.PrivateKey)
	return !inMemory
}

// sign returns the signature over a message, which may come in pieces, as it stands in a
// BIT STRING.
func (s *tbsSigner) sign(pieces ...[]byte) ([]byte, error) {
	digest, opts := s.digest(pieces)
	signature, err := s.signDigest(rand.Reader, digest, opts)
	if err != nil {
		return nil, fmt.Errorf("the CA's key did not sign: %w", err)
	}
	if s.verify {
		if err := s.check(digest, signature); err != nil {
			return nil, fmt.Errorf("the CA's key made a signature that does not verify (check the HSM or the memory of this host): %w", err)
		}
	}
	return signature, nil
}

// digest returns what the key signs: a hash, or for Ed25519 the message itself.
func (s *tbsSigner) digest(pieces [][]byte) ([]byte, crypto.SignerOpts) {
	if s.hash == 0 {
		if len(pieces) == 1 {
			return pieces[0], crypto.Hash(0)
		}
		return bytes.Join(pieces, nil), crypto.Hash(0)
	}
	h := s.hash.New()
	for _, piece := range pieces {
		h.Write(piece)
	}
	return h.Sum(nil), s.hash
}

// check verifies a signature. The message is not hashed once more: a CRL may have many megabytes.
func (s *tbsSigner) check(digest, signature []byte) error {
	key, ok := s.cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return s.cert.CheckSignature(s.scheme, digest, signature)
	}
	if !ecdsa.VerifyASN1(key, digest, signature) {
		return errors.New("ECDSA verification failure")
	}
	return nil
}

// mustHex decodes a constant of this package.
func mustHex(digits string) []byte {
	b, err := hex.DecodeString(digits)
	if err != nil {
		panic(err)
	}
	return b
}
