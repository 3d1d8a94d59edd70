package keystore

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
