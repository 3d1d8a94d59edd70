// Package possession proves, after a certificate has expired, that its key is still at hand: the
// signed request that the CA takes within a profile's grace.
package possession

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// nonceSize is what api.RekeyRequest asks for, in bytes.
const nonceSize = 16

// Sign makes a rekey request for the key in csr, signed at now by the old key. chain is the old
// certificate and its intermediates, DER. random is crypto/rand.Reader.
func Sign(random io.Reader, td certs.TrustDomain, old crypto.Signer, chain [][]byte, csr []byte, now time.Time) (*api.RekeyRequest, error) {
	request := &api.RekeyRequest{Chain: chain, CSR: csr, Nonce: make([]byte, nonceSize), SignedAt: now.UTC().Truncate(time.Second)}
	if _, err := io.ReadFull(random, request.Nonce); err != nil {
		return nil, err
	}
	message, err := api.RekeyMessage(td.String(), request)
	if err != nil {
		return nil, fmt.Errorf("make the proof of possession: %w", err)
	}
	if request.Signature, err = sign(random, old, message); err != nil {
		return nil, fmt.Errorf("sign the proof of possession: %w", err)
	}
	return request, nil
}

func sign(random io.Reader, key crypto.Signer, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	switch key.Public().(type) {
	case ed25519.PublicKey:
		return key.Sign(random, message, crypto.Hash(0))
	case *ecdsa.PublicKey:
		return key.Sign(random, digest[:], crypto.SHA256)
	case *rsa.PublicKey:
		return key.Sign(random, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	default:
		return nil, errors.New("the old key is of an unknown kind")
	}
}
