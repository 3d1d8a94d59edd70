package keystoretest_test

import (
	"bytes"
	"crypto"
	"errors"
	"path/filepath"
	"testing"

	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore"
	"github.com/handfast/handfast/issuer/keystore/keystoretest"
)

// A quickened file opens as the same key, with the same passphrase only.
func TestQuicken(t *testing.T) {
	t.Parallel()
	passphrase, wrong := []byte("correct horse"), []byte("wrong horse")
	keyPath, secretPath := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "secret")
	key, err := keystore.Create(keyPath, issuer.ECDSAP256, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := keystore.CreateSecret(secretPath, 32, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(keystoretest.QuickenKey(keyPath, passphrase), keystoretest.QuickenSecret(secretPath, passphrase)); err != nil {
		t.Fatal(err)
	}
	opened, closer, err := keystore.Open(t.Context(), keystore.FileScheme+keyPath, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if !opened.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
		t.Error("another key came out")
	}
	if got, err := keystore.OpenSecret(secretPath, passphrase); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("the secret: %v, or another one", err)
	}
	if _, _, err := keystore.Open(t.Context(), keystore.FileScheme+keyPath, wrong); !errors.Is(err, keystore.ErrPassphrase) {
		t.Errorf("key with the wrong passphrase: %v", err)
	}
	if _, err := keystore.OpenSecret(secretPath, wrong); !errors.Is(err, keystore.ErrPassphrase) {
		t.Errorf("secret with the wrong passphrase: %v", err)
	}
}
