package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/handfast/handfast/issuer"
)

var passphrase = []byte("canary-passphrase-7f3a")

// signs proves that signer is the private half of pub.
func signs(t *testing.T, signer crypto.Signer, pub crypto.PublicKey) {
	t.Helper()
	message := []byte("message")
	digest := sha256.Sum256(message)
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil || !ecdsa.VerifyASN1(pub, digest[:], signature) {
			t.Fatalf("ECDSA: %v", err)
		}
	case ed25519.PublicKey:
		signature, err := signer.Sign(rand.Reader, message, crypto.Hash(0))
		if err != nil || !ed25519.Verify(pub, message, signature) {
			t.Fatalf("Ed25519: %v", err)
		}
	default:
		t.Fatalf("key %T", pub)
	}
}

func write(t *testing.T, path string, content []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestCreateAndOpen(t *testing.T) {
	for _, a := range issuer.CAAlgorithms() {
		path := filepath.Join(t.TempDir(), "ca.key")
		made, err := Create(path, a, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: mode %v, %v", a, info.Mode(), err)
		}
		opened, closer, err := Open(context.Background(), FileScheme+path, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		signs(t, opened, made.Public())
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Invariant 18: the key is nowhere in the file in the clear.
func TestKeyIsEncryptedAtRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.key")
	key, err := Create(path, issuer.Ed25519, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	seed := key.(ed25519.PrivateKey).Seed()
	if block == nil || block.Type != "ENCRYPTED PRIVATE KEY" || bytes.Contains(block.Bytes, seed) || bytes.Contains(block.Bytes, passphrase) {
		t.Fatalf("file:\n%s", content)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, []byte("precious"), 0o600)
	if _, err := Create(path, issuer.ECDSAP256, passphrase); !errors.Is(err, fs.ErrExist) {
		t.Errorf("key: %v", err)
	}
	if _, err := CreateSecret(path, 32, passphrase); !errors.Is(err, fs.ErrExist) {
		t.Errorf("secret: %v", err)
	}
	if _, err := CreatePassphrase(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("passphrase: %v", err)
	}
	if content, _ := os.ReadFile(path); string(content) != "precious" {
		t.Errorf("now it holds %q", content)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	for name, err := range map[string]error{
		"key without passphrase":    second(Create(path+"2", issuer.ECDSAP256, nil)),
		"secret without passphrase": second(CreateSecret(path+"2", 32, nil)),
		"unknown algorithm":         second(Create(path+"2", "dsa", passphrase)),
		"short secret":              second(CreateSecret(path+"2", 8, passphrase)),
		"no directory":              second(Create(filepath.Join(path, "x", "y"), issuer.ECDSAP256, passphrase)),
	} {
		if err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.key")
	made, err := CreateSecret(path, 32, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := OpenSecret(path, passphrase)
	if err != nil || !bytes.Equal(made, opened) || len(made) != 32 {
		t.Fatalf("%x, %x, %v", made, opened, err)
	}
	content, err := os.ReadFile(path)
	if err != nil || bytes.Contains(content, made) || bytes.Contains(content, []byte(base64.RawURLEncoding.EncodeToString(made))) {
		t.Fatal("the secret stands in the file")
	}
	if _, err := OpenSecret(path, []byte("wrong")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	// A secret file that is damaged must never be taken for a secret.
	for name, damaged := range map[string][]byte{
		"truncated":  content[:len(content)/2],
		"empty":      {},
		"clear text": bytes.Repeat([]byte{'x'}, 32),
		"changed":    append(bytes.Clone(content[:len(content)-4]), "AAA\n"...),
	} {
		write(t, path, damaged, 0o600)
		if got, err := OpenSecret(path, passphrase); !errors.Is(err, ErrPassphrase) || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenSecret(path, nil); !errors.Is(err, ErrPassphrase) {
		t.Errorf("no passphrase: %v", err)
	}
}

// Invariant 18: no error holds a key, a passphrase or a PIN.
func TestErrorsHoldNoSecrets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ca.key")
	key, err := Create(path, issuer.Ed25519, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
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
	forbidden := []string{"CANARY", "canary", string(passphrase), "1234567", base64.StdEncoding.EncodeToString(key.(ed25519.PrivateKey).Seed()), fmt.Sprintf("%x", key.(ed25519.PrivateKey).Seed())}
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

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ca.key")
	if _, err := Create(path, issuer.ECDSAP256, passphrase); err != nil {
		t.Fatal(err)
	}
	open := func(pass []byte) error {
		_, _, err := Open(context.Background(), FileScheme+path, pass)
		return err
	}
	if err := open([]byte("wrong")); !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), path) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if err := open(nil); !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), "no passphrase") {
		t.Errorf("no passphrase: %v", err)
	}
	for mode, refused := range map[fs.FileMode]bool{0o600: false, 0o400: false, 0o640: false, 0o440: false, 0o644: true, 0o604: true, 0o660: true, 0o601: true, 0o777: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := readSecretFile(path); errors.Is(err, ErrPermissions) != refused {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	if err := open(passphrase); !errors.Is(err, ErrPermissions) && os.Getuid() != 0 {
		t.Errorf("last mode: %v", err)
	}
	if _, _, err := Open(context.Background(), FileScheme+filepath.Join(dir, "missing"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, _, err := Open(context.Background(), FileScheme+dir, nil); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("directory: %v", err)
	}
}

// A root that an operator brings along may be in the clear.
func TestOpenClearKeys(t *testing.T) {
	key, err := issuer.GenerateKey(issuer.ECDSAP384)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for kind, der := range map[string][]byte{"PRIVATE KEY": pkcs8, "EC PRIVATE KEY": sec1} {
		path := filepath.Join(t.TempDir(), "root.key")
		write(t, path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		for _, pass := range [][]byte{nil, passphrase} {
			opened, _, err := Open(context.Background(), FileScheme+path, pass)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			signs(t, opened, key.Public())
		}
	}
}

func TestPassphraseSource(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "passphrase")
	made, err := CreatePassphrase(path)
	if err != nil {
		t.Fatal(err)
	}
	read, err := PassphraseSource{File: path}.Read()
	if err != nil || !bytes.Equal(made, read) || len(made) < 43 {
		t.Fatalf("%q, %q, %v", made, read, err)
	}
	t.Setenv("HANDFAST_TEST_PASSPHRASE", "from the environment")
	read, err = PassphraseSource{Env: "HANDFAST_TEST_PASSPHRASE", File: path}.Read()
	if err != nil || string(read) != "from the environment" {
		t.Errorf("%q, %v", read, err)
	}
	for name, content := range map[string]string{"empty": "", "newline": "\n", "two lines": "a\nb\n", "NUL": "a\x00b", "long": strings.Repeat("x", 2000)} {
		p := filepath.Join(dir, name)
		write(t, p, []byte(content), 0o600)
		if _, err := (PassphraseSource{File: p}).Read(); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	write(t, path, []byte("windows\r\n"), 0o600)
	if read, err = (PassphraseSource{File: path}).Read(); err != nil || string(read) != "windows" {
		t.Errorf("%q, %v", read, err)
	}
	write(t, path, []byte("open"), 0o644)
	for name, s := range map[string]PassphraseSource{"neither": {}, "unset": {Env: "HANDFAST_TEST_UNSET"}, "missing": {File: path + "x"}, "open": {File: path}} {
		if _, err := s.Read(); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

// FuzzParseKey: no content panics, and only private keys come out.
func FuzzParseKey(f *testing.F) {
	key, err := issuer.GenerateKey(issuer.Ed25519)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: der}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{0x30, 0}}))
	f.Add([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\n\n-----END OPENSSH PRIVATE KEY-----"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		signer, err := parseKey(content, passphrase)
		if (signer == nil) == (err == nil) {
			t.Fatalf("signer %v, error %v", signer, err)
		}
		if err == nil && signer.Public() == nil {
			t.Fatal("a signer without a public key")
		}
	})
}
