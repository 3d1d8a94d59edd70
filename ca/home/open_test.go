//go:build !race

// Nothing here runs concurrently, and stretching a passphrase takes the race detector twenty
// times as long: these tests run without it.

package home_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/issuer/keystore"
)

// Invariant 19: the daemon's keys open without the root's.
func TestInvariant19OpensWithoutTheRootKey(t *testing.T) {
	t.Parallel()
	cfg := someCA(t)
	if err := os.Rename(filepath.Dir(cfg.Dir.RootKey()), filepath.Join(t.TempDir(), "carried-away")); err != nil {
		t.Fatal(err)
	}
	m, err := cfg.Open(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		break_ func(t *testing.T, dir home.Dir)
		want   string
	}{
		{"wrong passphrase", func(t *testing.T, d home.Dir) { write(t, d.Passphrase(), []byte("wrong\n")) }, "wrong passphrase"},
		{"no passphrase", func(t *testing.T, d home.Dir) { remove(t, d.Passphrase()) }, "HANDFAST_PASSPHRASE"},
		{"open passphrase", func(t *testing.T, d home.Dir) { chmod(t, d.Passphrase(), 0o644) }, "chmod 600"},
		{"no token key", func(t *testing.T, d home.Dir) { remove(t, d.TokenKey()) }, "token.key"},
		{"no issuing key", func(t *testing.T, d home.Dir) { remove(t, d.IssuingKey()) }, "issuing.key"},
		{"half an issuing key", func(t *testing.T, d home.Dir) { truncate(t, d.IssuingKey()) }, "issuing.key"},
		{"half a certificate", func(t *testing.T, d home.Dir) { truncate(t, d.IssuingCert()) }, "issuing.crt"},
		{"no certificate", func(t *testing.T, d home.Dir) { remove(t, d.IssuingCert()) }, "--chain-in"},
		{"other root", func(t *testing.T, d home.Dir) { write(t, d.RootCert(), pemOf(newAuthority(t, nil, nil).cert)) }, "issuing.crt"},
		{"damaged root CRL", func(t *testing.T, d home.Dir) { truncate(t, d.RootCRL()) }, "root.crl"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := someCA(t)
			tt.break_(t, cfg.Dir)
			m, err := cfg.Open(t.Context(), time.Now())
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error = %v; want one line with %q", err, tt.want)
			}
		})
	}
}

// Invariant 18: neither passphrase nor key material is in an error or a printed value.
func TestInvariant18NothingSecretIsPrinted(t *testing.T) {
	t.Parallel()
	const canary = "canary-passphrase-3141592653"
	file := write(t, filepath.Join(t.TempDir(), "pass"), []byte(canary+"\n"))
	result := mustInit(t, func(o *home.InitOptions) { o.Passphrase = file })
	m, err := result.Config.Open(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	printed := []string{fmt.Sprintf("%v %+v %#v %s %v", m, m, m, m, *m), fmt.Sprintf("%v %+v %#v", result, result.Config, *result.Config)}
	for _, path := range []string{result.Config.Dir.IssuingKey(), result.Config.Dir.TokenKey()} {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, content[:len(content)/2])
		_, err = result.Config.Open(t.Context(), time.Now())
		printed = append(printed, fmt.Sprint(err))
		write(t, path, content)
	}
	write(t, file, []byte(canary+"-but-wrong\n"))
	_, err = result.Config.Open(t.Context(), time.Now())
	printed = append(printed, fmt.Sprint(err))
	for _, text := range printed {
		for _, secret := range []string{canary, string(m.TokenKey), fmt.Sprint(m.TokenKey[:8])[1:], fmt.Sprintf("%x", m.TokenKey[:8])} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is printed: %q", text)
			}
		}
	}
}

func TestPassphraseFromTheEnvironment(t *testing.T) {
	t.Setenv(home.EnvPassphrase, "from the environment")
	result := mustInit(t, func(o *home.InitOptions) { o.PassphraseEnv = true })
	if _, err := os.Lstat(result.Config.Dir.Passphrase()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a passphrase was written: %v", err)
	}
	cfg, err := home.Load(result.Config.Dir, home.FromEnvironment(os.LookupEnv))
	if err != nil {
		t.Fatal(err)
	}
	m, err := cfg.Open(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	t.Setenv(home.EnvPassphrase, "another")
	if _, err := cfg.Open(t.Context(), time.Now()); !errors.Is(err, keystore.ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
}

func TestLockIsExclusive(t *testing.T) {
	t.Parallel()
	dir := someCA(t).Dir
	release, err := dir.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Lock(); !errors.Is(err, home.ErrLocked) {
		t.Errorf("second lock: %v; want ErrLocked", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := dir.Lock()
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/2); err != nil {
		t.Fatal(err)
	}
}
