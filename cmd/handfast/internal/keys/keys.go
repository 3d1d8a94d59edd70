// Package keys makes private keys on this host and the requests that carry their public
// halves. A private key leaves this package only as a crypto.Signer or as the
// PEM that goes into its file.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Default is the algorithm of a key when nobody asks for another.
const Default = "ecdsa-p256"

// Algorithms are the names that Generate knows, as the CA's profiles write them.
func Algorithms() []string {
	return []string{"ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"}
}

// Generate makes a key.
func Generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "ecdsa-p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ecdsa-p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case "rsa-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa-4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("key algorithm %q is unknown: use one of %s", algorithm, strings.Join(Algorithms(), ", "))
	}
}

// AlgorithmOf names the algorithm of a key, so that a renewal keeps it.
func AlgorithmOf(pub crypto.PublicKey) (string, error) {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return "ecdsa-p256", nil
		case elliptic.P384():
			return "ecdsa-p384", nil
		}
	case ed25519.PublicKey:
		return "ed25519", nil
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", key.N.BitLen()), nil
	}
	return "", errors.New("the key is of a kind that this program does not make")
}

// Request returns a PKCS #10 request (RFC 2986), DER, that proves possession of key. It names
// nothing: the CA decides what the certificate holds and takes the public key only.
func Request(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate request: %w", err)
	}
	return der, nil
}

// PEM writes key as PKCS #8 (RFC 5958), without a passphrase: for a file of mode 0600.
func PEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
