package api_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// The signature is the one that api.RekeyRequest describes, for each kind of key, and it
// covers every part of the request.
func TestRekeySignatureHoldsOverEveryPart(t *testing.T) {
	td, err := certs.ParseTrustDomain("example.org")
	if err != nil {
		t.Fatal(err)
	}
	generators := map[string]func() (crypto.Signer, error){
		"ecdsa-p256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"ecdsa-p384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"ed25519": func() (crypto.Signer, error) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			return key, err
		},
		"rsa-2048": func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	}
	for algorithm, generate := range generators {
		t.Run(algorithm, func(t *testing.T) {
			key, err := generate()
			if err != nil {
				t.Fatal(err)
			}
			r, err := api.NewRekeyRequest(td, key, [][]byte{[]byte("leaf"), []byte("issuer")}, []byte("csr"), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Nonce) != 16 || bytes.Equal(r.Nonce, make([]byte, 16)) {
				t.Errorf("nonce %x", r.Nonce)
			}
			if !holds(t, key.Public(), "example.org", r) {
				t.Fatal("the signature does not hold")
			}
			if holds(t, key.Public(), "example.com", r) {
				t.Error("it holds for another trust domain")
			}
			for name, change := range map[string]func(*api.RekeyRequest){
				"chain": func(r *api.RekeyRequest) { r.Chain = r.Chain[:1] },
				"csr":   func(r *api.RekeyRequest) { r.CSR = []byte("other") },
				"nonce": func(r *api.RekeyRequest) { r.Nonce = make([]byte, 16) },
				"time":  func(r *api.RekeyRequest) { r.SignedAt = r.SignedAt.Add(time.Second) },
			} {
				changed := *r
				change(&changed)
				if holds(t, key.Public(), "example.org", &changed) {
					t.Errorf("it holds with another %s", name)
				}
			}
		})
	}
}

func holds(t *testing.T, pub crypto.PublicKey, td string, r *api.RekeyRequest) bool {
	t.Helper()
	message, err := api.RekeyMessage(td, r)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(message)
	switch key := pub.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, r.Signature)
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest[:], r.Signature)
	case *rsa.PublicKey:
		return rsa.VerifyPSS(key, crypto.SHA256, digest[:], r.Signature, nil) == nil
	default:
		t.Fatalf("key of type %T", pub)
		return false
	}
}
