package api

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/certs"
)

// RekeyNonceSize is the length of RekeyRequest.Nonce, in bytes.
const RekeyNonceSize = 16

// NewRekeyRequest makes a rekey request for the key in csr, signed at now by the old key.
// chain is the old certificate and its intermediates, DER.
func NewRekeyRequest(td certs.TrustDomain, old crypto.PrivateKey, chain [][]byte, csr []byte, now time.Time) (*RekeyRequest, error) {
	signer, ok := old.(crypto.Signer)
	if !ok {
		return nil, errors.New("sign the proof of possession: the old key cannot sign")
	}
	request := &RekeyRequest{Chain: chain, CSR: csr, Nonce: make([]byte, RekeyNonceSize), SignedAt: now.UTC().Truncate(time.Second)}
	rand.Read(request.Nonce) //nolint:errcheck // never fails (crypto/rand documents it)
	message, err := RekeyMessage(td.String(), request)
	if err != nil {
		return nil, fmt.Errorf("make the proof of possession: %w", err)
	}
	if request.Signature, err = signRekey(signer, message); err != nil {
		return nil, fmt.Errorf("sign the proof of possession: %w", err)
	}
	return request, nil
}

// signRekey signs as RekeyRequest.Signature says for each kind of key.
func signRekey(key crypto.Signer, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	switch key.Public().(type) {
	case ed25519.PublicKey:
		return key.Sign(rand.Reader, message, crypto.Hash(0))
	case *ecdsa.PublicKey:
		return key.Sign(rand.Reader, digest[:], crypto.SHA256)
	case *rsa.PublicKey:
		return key.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	default:
		return nil, errors.New("the old key is of an unknown kind")
	}
}

// RekeyMessage is what RekeyRequest.Signature signs: a context string, so that the
// signature can serve nowhere else, and a digest of each of the request's parts.
func RekeyMessage(trustDomain string, r *RekeyRequest) ([]byte, error) {
	return json.Marshal(struct {
		Context     string   `json:"context"`
		TrustDomain string   `json:"trust_domain"`
		Chain       [][]byte `json:"chain"`
		CSR         []byte   `json:"csr"`
		Nonce       []byte   `json:"nonce"`
		SignedAt    string   `json:"signed_at"`
	}{"handfast rekey v1", trustDomain, r.Chain, r.CSR, r.Nonce, r.SignedAt.UTC().Format(time.RFC3339)})
}
