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
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// madeKey is the content of a file that Create made, and its key. Tests share it, because
// each derivation from a passphrase takes a good part of a second under the race detector.
func madeKey(t *testing.T) ([]byte, ed25519.PrivateKey) {
	t.Helper()
	made, err := madeKeyOnce()
	if err != nil {
		t.Fatal(err)
	}
	return made.content, made.key
}

type made struct {
	content []byte
	key     ed25519.PrivateKey
}

var madeKeyOnce = sync.OnceValues(func() (made, error) {
	dir, err := os.MkdirTemp("", "keystore")
	if err != nil {
		return made{}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	path := filepath.Join(dir, "ca.key")
	key, err := Create(path, issuer.Ed25519, passphrase)
	if err != nil {
		return made{}, err
	}
	content, err := os.ReadFile(path)
	return made{content, key.(ed25519.PrivateKey)}, err
})

func TestCreateAndOpen(t *testing.T) {
	for _, a := range []issuer.Algorithm{issuer.ECDSAP256, issuer.Ed25519} {
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
	content, key := madeKey(t)
	block, _ := pem.Decode(content)
	seed := key.Seed()
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

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ca.key")
	content, _ := madeKey(t)
	write(t, path, content, 0o600)
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
