package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Invariant 18: no error holds a key, a passphrase or a PIN.
func TestErrorsHoldNoSecrets(t *testing.T) {
	dir := t.TempDir()
	content, key := madeKey(t)
	clear, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	const canary = "-----BEGIN PRIVATE KEY-----\nQ0FOQVJZLUNBTkFSWS1DQU5BUlk=\n-----END PRIVATE KEY-----\n"
	files := map[string][]byte{
		"wrong.key":      content,
		"open.key":       content,
		"canary.key":     []byte(canary),
		"text.key":       []byte("CANARY-CANARY-CANARY canary-passphrase-7f3a"),
		"two.key":        append(bytes.Clone(content), canary...),
		"shortened.key":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: clear[:len(clear)-1]}),
		"empty.key":      {},
		"huge.key":       bytes.Repeat([]byte("CANARY"), 1<<16),
		"mistyped.key":   pem.EncodeToMemory(&pem.Block{Type: "CANARY", Bytes: clear}),
		"public.key":     publicPEM(t, key.Public()),
		"encrypted.key":  pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: clear}),
		"iterations.key": pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: slowKey(t)}),
	}
	forbidden := []string{"CANARY", "canary", string(passphrase), "1234567", base64.StdEncoding.EncodeToString(key.Seed()), fmt.Sprintf("%x", key.Seed())}
	clean := func(name string, err error) {
		if err == nil {
			t.Errorf("%s: accepted", name)
			return
		}
		message := strings.ReplaceAll(err.Error(), dir, "")
		for _, word := range forbidden {
			if strings.Contains(strings.ReplaceAll(message, "/canary.key", ""), word) {
				t.Errorf("%s: %q holds %q", name, message, word)
			}
		}
	}
	for name, text := range files {
		mode, given := fs.FileMode(0o600), passphrase
		switch name {
		case "open.key":
			mode = 0o644
		case "wrong.key":
			given = []byte("canary-wrong")
		}
		write(t, filepath.Join(dir, name), text, mode)
		_, _, err := Open(context.Background(), FileScheme+filepath.Join(dir, name), given)
		clean(name, err)
	}
	for _, uri := range []string{
		"pkcs11:token=none?pin-value=canary-1234567", "pkcs11:module-path=/nonexistent.so;token=x?pin-value=canary-1234567", "pkcs11:pin-value=1234567",
		"canarykms:key", "softkms:canary?", "canary", "", ":", "file", "pkcs11:%zz?pin-value=1234567",
	} {
		_, _, err := Open(context.Background(), uri, passphrase)
		if err == nil {
			t.Errorf("%q: accepted", uri)
			continue
		}
		for _, word := range []string{"1234567", string(passphrase)} {
			if strings.Contains(err.Error(), word) {
				t.Errorf("%q: %v", uri, err)
			}
		}
	}
}

func publicPEM(t *testing.T, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// slowKey asks for more iterations of PBKDF2 than anybody has time for.
func slowKey(t *testing.T) []byte {
	t.Helper()
	type kdf struct {
		Salt       []byte
		Iterations int
	}
	type algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters any
	}
	type parameters struct{ KDF, Cipher algorithm }
	der, err := asn1.Marshal(struct {
		Algorithm algorithm
		Encrypted []byte
	}{algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, parameters{
		algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, kdf{[]byte("12345678"), 1 << 40}},
		algorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, make([]byte, 16)},
	}}, make([]byte, 64)})
	if err != nil {
		t.Fatal(err)
	}
	if err := checkIterations(der); err == nil || !strings.Contains(err.Error(), "iterations") {
		t.Fatalf("iterations: %v", err)
	}
	return der
}
