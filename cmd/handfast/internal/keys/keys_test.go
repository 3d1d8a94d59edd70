package keys_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/handfast/handfast/cmd/handfast/internal/keys"
)

func TestEveryAlgorithmMakesARequestThatProvesPossession(t *testing.T) {
	for _, algorithm := range keys.Algorithms() {
		if testing.Short() && algorithm == "rsa-4096" {
			continue
		}
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			key, err := keys.Generate(algorithm)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := keys.AlgorithmOf(key.Public()); err != nil || got != algorithm {
				t.Errorf("AlgorithmOf = %q, %v", got, err)
			}
			der, err := keys.Request(key)
			if err != nil {
				t.Fatal(err)
			}
			csr, err := x509.ParseCertificateRequest(der)
			if err != nil {
				t.Fatal(err)
			}
			if err := csr.CheckSignature(); err != nil {
				t.Error(err)
			}
			if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(csr.PublicKey) {
				t.Error("the request carries another key")
			}
			if len(csr.Extensions) > 0 || len(csr.Subject.Names) > 0 {
				t.Error("the request asks for names")
			}
		})
	}
}

func TestGenerateRefusesUnknownAlgorithms(t *testing.T) {
	if _, err := keys.Generate("rsa-1024"); err == nil || !strings.Contains(err.Error(), "ecdsa-p256") {
		t.Fatalf("err = %v; want the list", err)
	}
}

func TestPEMIsReadByTheStandardLibrary(t *testing.T) {
	key, err := keys.Generate(keys.Default)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.PEM(key)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(text)
	if block == nil || len(rest) > 0 {
		t.Fatal("not one PEM block")
	}
	back, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !key.(interface{ Equal(crypto.PrivateKey) bool }).Equal(back) {
		t.Fatal("another key came back")
	}
}
