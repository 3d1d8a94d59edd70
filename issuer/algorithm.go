package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Algorithm names a kind of key together with its size.
type Algorithm string

// The algorithms. A CA's own keys are one of the first three; leaf keys may be any.
const (
	ECDSAP256 Algorithm = "ecdsa-p256" // the default
	ECDSAP384 Algorithm = "ecdsa-p384"
	Ed25519   Algorithm = "ed25519"
	RSA2048   Algorithm = "rsa-2048"
	RSA3072   Algorithm = "rsa-3072"
	RSA4096   Algorithm = "rsa-4096"
)

// Algorithms returns every algorithm that a leaf key may have.
func Algorithms() []Algorithm {
	return []Algorithm{ECDSAP256, ECDSAP384, Ed25519, RSA2048, RSA3072, RSA4096}
}

// CAAlgorithms returns every algorithm that a CA's own key may have.
func CAAlgorithms() []Algorithm {
	return []Algorithm{ECDSAP256, ECDSAP384, Ed25519}
}

// ParseAlgorithm reads an algorithm by its name; "" is the default, ECDSAP256.
func ParseAlgorithm(name string) (Algorithm, error) {
	if name == "" {
		return ECDSAP256, nil
	}
	if a := Algorithm(name); slices.Contains(Algorithms(), a) {
		return a, nil
	}
	var known []string
	for _, a := range Algorithms() {
		known = append(known, string(a))
	}
	return "", fmt.Errorf("key algorithm %q is unknown (use one of %s)", name, strings.Join(known, ", "))
}

// UnmarshalText is ParseAlgorithm, so that configuration is refused where it is wrong.
func (a *Algorithm) UnmarshalText(text []byte) error {
	parsed, err := ParseAlgorithm(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

// AlgorithmOf returns pub's algorithm. Keys of any other kind, curve or size are
// errors. It says nothing about whether the key is a good one: see [CheckKey].
func AlgorithmOf(pub crypto.PublicKey) (Algorithm, error) {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		if key == nil || key.Curve == nil {
			return "", errors.New("ECDSA key is empty")
		}
		switch key.Curve {
		case elliptic.P256():
			return ECDSAP256, nil
		case elliptic.P384():
			return ECDSAP384, nil
		}
		return "", fmt.Errorf("ECDSA key on curve %s is not accepted (use P-256 or P-384)", key.Curve.Params().Name)
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return "", fmt.Errorf("Ed25519 key has %d octets instead of %d", len(key), ed25519.PublicKeySize)
		}
		return Ed25519, nil
	case *rsa.PublicKey:
		if key == nil || key.N == nil || key.N.Sign() <= 0 {
			return "", errors.New("RSA key has no positive modulus")
		}
		switch key.N.BitLen() {
		case 2048:
			return RSA2048, nil
		case 3072:
			return RSA3072, nil
		case 4096:
			return RSA4096, nil
		}
		return "", fmt.Errorf("RSA key of %d bits is not accepted (use 2048, 3072 or 4096)", key.N.BitLen())
	default:
		return "", fmt.Errorf("key type %T is not accepted (use ECDSA, Ed25519 or RSA)", pub)
	}
}

// GenerateKey makes a fresh private key in memory.
func GenerateKey(a Algorithm) (crypto.Signer, error) {
	switch a {
	case "", ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("key algorithm %q is unknown", a)
	}
}

// checkCAKey refuses keys that this package does not sign with.
func checkCAKey(pub crypto.PublicKey) (Algorithm, error) {
	a, err := AlgorithmOf(pub)
	if err != nil {
		return "", err
	}
	if !slices.Contains(CAAlgorithms(), a) {
		return "", fmt.Errorf("a CA key may not be %s (use ecdsa-p256, ecdsa-p384 or ed25519)", a)
	}
	return a, nil
}
