//go:build !race

// Nothing here runs concurrently, and stretching a passphrase takes the race detector twenty
// times as long: these tests run without it.

package home_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

func TestInitMakesACA(t *testing.T) {
	t.Parallel()
	for _, algorithm := range issuer.CAAlgorithms() {
		t.Run(string(algorithm), func(t *testing.T) {
			result := mustInit(t, func(o *home.InitOptions) { o.KeyAlgorithm = algorithm })
			cfg, err := home.Load(result.Config.Dir, nil)
			if err != nil {
				t.Fatalf("what init wrote does not load: %v", err)
			}
			if diff := cmp.Diff(fmt.Sprint(result.Config), fmt.Sprint(cfg)); diff != "" {
				t.Errorf("loaded and made configurations differ:\n%s", diff)
			}
			m, err := cfg.Open(t.Context(), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if got := certs.Fingerprint(m.Root); got != result.Fingerprint {
				t.Errorf("fingerprint %s; want %s", result.Fingerprint, got)
			}
			if got, _ := issuer.AlgorithmOf(m.Chain[0].PublicKey); got != algorithm {
				t.Errorf("issuing key is %s", got)
			}
			if got, want := m.Chain[0].CRLDistributionPoints, "http://127.0.0.1:9001/crl/"+issuer.KeyID(m.Root)+".crl"; len(got) != 1 || got[0] != want {
				t.Errorf("the issuing certificate names the CRL %v; want %s", got, want)
			}
			crl, err := x509.ParseRevocationList(m.RootCRL)
			if err != nil || len(crl.RevokedCertificateEntries) != 0 || time.Until(crl.NextUpdate) < 364*24*time.Hour {
				t.Errorf("root CRL: %v, %+v", err, crl)
			}
		})
	}
}

func TestInitFileModes(t *testing.T) {
	t.Parallel()
	result := mustInit(t, nil)
	dir := result.Config.Dir
	secrets := []string{dir.Passphrase(), dir.IssuingKey(), dir.TokenKey(), dir.RootKey()}
	for _, path := range secrets {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want 0600", path, info.Mode(), err)
		}
	}
	for _, path := range []string{string(dir), filepath.Dir(dir.IssuingKey()), filepath.Dir(dir.RootKey())} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want 0700", path, info.Mode(), err)
		}
	}
	passphrase, err := os.ReadFile(dir.Passphrase())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range secrets[1:] {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "BEGIN PRIVATE KEY") || strings.Contains(string(content), "BEGIN EC PRIVATE KEY") {
			t.Errorf("%s is not encrypted", path)
		}
		if strings.Contains(string(content), strings.TrimSpace(string(passphrase))) {
			t.Errorf("%s holds its own passphrase", path)
		}
	}
}

func TestInitNeverOverwrites(t *testing.T) {
	t.Parallel()
	dir := string(someCA(t).Dir)
	before := snapshot(t, dir)
	if _, err := home.Init(t.Context(), options(dir)); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "holds a CA already") {
		t.Errorf("second init: %v; want fs.ErrExist in plain words", err)
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("the second init changed something:\n%s", diff)
	}
	// Any single file that was there is left alone, and nothing is made beside it.
	for _, name := range []string{"passphrase", "keys/issuing.key", "keys/token.key", "certs/root.crt", "certs/issuing.crt", "root.crl", "root/root.key", "operator.yaml", "ledger.db"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, path, []byte("precious"))
			before := snapshot(t, dir)
			if _, err := home.Init(t.Context(), options(dir)); !errors.Is(err, fs.ErrExist) {
				t.Errorf("init: %v; want fs.ErrExist", err)
			}
			after := snapshot(t, dir)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("init changed something:\n%s", diff)
			}
		})
	}
}

func TestInitTakesBackWhatItMade(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	broken := errors.New("disk full")
	for name, existing := range map[string]bool{"new directory": false, "empty directory": true} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(parent, name)
			if existing {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			before := snapshot(t, parent)
			o := options(dir)
			o.FinishFiles = []string{o.Dir.Ledger(), o.Dir.Operator()}
			o.Finish = func(_ context.Context, cfg *home.Config, _ *home.Material) error {
				write(t, cfg.Dir.Ledger(), []byte("half"))
				return broken
			}
			if _, err := home.Init(t.Context(), o); !errors.Is(err, broken) {
				t.Fatalf("init: %v; want %v", err, broken)
			}
			if diff := cmp.Diff(before, snapshot(t, parent)); diff != "" {
				t.Errorf("left behind:\n%s", diff)
			}
		})
	}
}

func TestInitRefuses(t *testing.T) {
	t.Parallel()
	good, other := newAuthority(t, nil, nil), newAuthority(t, nil, nil)
	expired := newAuthority(t, nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	notCA := newAuthority(t, nil, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	noPath := newAuthority(t, nil, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	intermediate := good.sign(t, newCSR(t), nil)
	intermediatePath := write(t, filepath.Join(t.TempDir(), "int.crt"), pemOf(intermediate))
	weak, err := rsa.GenerateKey(rand.Reader, 1536)
	if err != nil {
		t.Fatal(err)
	}
	rsa1536 := newAuthority(t, weak, nil)
	root := func(cert, key string) func(*home.InitOptions) {
		return func(o *home.InitOptions) { o.RootCert, o.RootKey = cert, key }
	}
	settings := func(change func(*home.Settings)) func(*home.InitOptions) {
		return func(o *home.InitOptions) { change(&o.Settings) }
	}
	tests := []struct {
		name   string
		change func(*home.InitOptions)
		want   string
	}{
		{"no trust domain", settings(func(s *home.Settings) { s.TrustDomain = "" }), "--trust-domain: "},
		{"bad trust domain", settings(func(s *home.Settings) { s.TrustDomain = "Prod" }), "--trust-domain: "},
		{"no address", settings(func(s *home.Settings) { s.Address = "" }), "--address: missing"},
		{"no port", settings(func(s *home.Settings) { s.PublicAddress = "127.0.0.1" }), "--public-address: "},
		{"port zero", settings(func(s *home.Settings) { s.Address = "127.0.0.1:0" }), "--address: port"},
		{"every interface", settings(func(s *home.Settings) { s.Address = "0.0.0.0:9000" }), "--server-name: missing"},
		{"every interface in public", settings(func(s *home.Settings) { s.PublicAddress = ":9001" }), "--public-url: missing"},
		{"bad server name", settings(func(s *home.Settings) { s.ServerNames = []string{"a", "UPPER"} }), "--server-name: "},
		{"metrics for everybody", settings(func(s *home.Settings) { s.MetricsAddress = "0.0.0.0:9090" }), "--metrics-address: "},
		{"RSA key", func(o *home.InitOptions) { o.KeyAlgorithm = issuer.RSA2048 }, "--key-algorithm: "},
		{"root without its key", root(good.certPath, ""), "belong together"},
		{"other root's key", root(good.certPath, other.keyPath), "not the key of"},
		{"expired root", root(expired.certPath, expired.keyPath), "not now"},
		{"leaf as root", root(notCA.certPath, notCA.keyPath), "not a CA certificate"},
		{"intermediate as root", root(intermediatePath, good.keyPath), "not signed by itself"},
		{"root without room", root(noPath.certPath, noPath.keyPath), "path length"},
		{"weak root", root(rsa1536.certPath, rsa1536.keyPath), "1536 bits"},
		{"key as certificate", root(good.keyPath, good.keyPath), "only certificates"},
		{"passphrase file missing", func(o *home.InitOptions) { o.Passphrase = "/nonexistent/pass" }, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(filepath.Join(t.TempDir(), "ca"))
			tt.change(&o)
			_, err := home.Init(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v; want %q in it", err, tt.want)
			}
			if _, err := os.Lstat(string(o.Dir)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the directory was left behind: %v", err)
			}
		})
	}
}

func TestInitWithAnExistingRoot(t *testing.T) {
	t.Parallel()
	corporate := newAuthority(t, nil, nil)
	result := mustInit(t, func(o *home.InitOptions) { o.RootCert, o.RootKey = corporate.certPath, corporate.keyPath })
	if result.RootKey != "" {
		t.Errorf("a root key was made at %s", result.RootKey)
	}
	if _, err := os.Lstat(result.Config.Dir.RootKey()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root's key was copied: %v", err)
	}
	m, err := result.Config.Open(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if !m.Root.Equal(corporate.cert) || m.Chain[0].CheckSignatureFrom(corporate.cert) != nil {
		t.Error("the issuing certificate is not by the given root")
	}
}
