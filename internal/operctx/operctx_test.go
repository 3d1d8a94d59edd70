package operctx_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/operctx"
)

func TestSavedContextLoadsAgain(t *testing.T) {
	want := newContext(t, "spiffe://example.org/handfast/operator/alice")
	path := filepath.Join(t.TempDir(), "new", "operator.yaml")
	if err := operctx.Save(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := operctx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !same(got, want) {
		t.Fatalf("loaded %v; want %v", got, want)
	}
	if got.Name() != "alice" {
		t.Fatalf("name = %q; want alice", got.Name())
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	c := newContext(t, "spiffe://example.org/handfast/operator/alice")
	path := filepath.Join(t.TempDir(), "operator.yaml")
	if err := operctx.Create(path, c); err != nil {
		t.Fatal(err)
	}
	if err := operctx.Create(path, c); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second Create: %v; want fs.ErrExist", err)
	}
}

func TestLoadRefusesWhatOthersCanRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "operator.yaml")
	if err := operctx.Save(path, newContext(t, "spiffe://example.org/handfast/operator/alice")); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o604, 0o640, 0o620, 0o602, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := operctx.Load(path)
		if err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: %v; want the fix", mode, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := operctx.Load(path); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
}

func TestLoadSaysThatThereIsNone(t *testing.T) {
	_, err := operctx.Load(filepath.Join(t.TempDir(), "none.yaml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("err = %v; want fs.ErrNotExist", err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := newContext(t, "spiffe://example.org/handfast/operator/alice")
	other := newContext(t, "spiffe://example.org/handfast/operator/mallory")
	text := marshal(t, good)
	foreignKey := section(marshal(t, other), "key:")
	tests := []struct{ name, in, want string }{
		{"empty", "", "empty"},
		{"unknown key", text + "extra: 1\n", "unknown field"},
		{"plain http", strings.Replace(text, "https:", "http:", 1), "https://HOST:PORT"},
		{"address with a path", strings.Replace(text, ":8443", ":8443/x", 1), "https://HOST:PORT"},
		{"address with a user", strings.Replace(text, "https://", "https://u:p@", 1), "https://HOST:PORT"},
		{"no roots", strings.Replace(text, section(text, "roots:"), "", 1), "roots: missing"},
		{"no certificate", strings.Replace(text, section(text, "certificate:"), "", 1), "certificate: missing"},
		{"no key", strings.Replace(text, section(text, "key:"), "", 1), "key: missing"},
		{"foreign key", strings.Replace(text, section(text, "key:"), foreignKey, 1), "does not belong"},
		{"other domain", strings.Replace(text, "trust_domain: example.org", "trust_domain: example.com", 1), "no operator of trust domain example.com"},
		{"rubbish before the key", strings.Replace(text, "key: |\n", "key: |\n  rubbish\n", 1), `want a PEM block "PRIVATE KEY"`},
		{"oversize", text + strings.Repeat("# padding\n", 30000), "no operator context"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := operctx.Parse("operator.yaml", []byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("err = %v; want %q in it", err, tt.want)
			}
			if strings.Contains(err.Error(), "PRIVATE KEY-----") {
				t.Fatalf("err quotes the key: %v", err)
			}
		})
	}
}

func TestSaveRefusesAServicesCertificate(t *testing.T) {
	c := newContext(t, "spiffe://example.org/shop")
	err := operctx.Save(filepath.Join(t.TempDir(), "operator.yaml"), c)
	if err == nil || !strings.Contains(err.Error(), "no operator") {
		t.Fatalf("err = %v", err)
	}
}

func TestFormattingNeverShowsTheKey(t *testing.T) {
	c := newContext(t, "spiffe://example.org/handfast/operator/alice")
	secret := c.Key.(*ecdsa.PrivateKey)
	der, err := secret.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	decimal := new(big.Int).SetBytes(der).String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		for _, shown := range []string{fmt.Sprintf(verb, c), fmt.Sprintf(verb, &c)} {
			if shown != "spiffe://example.org/handfast/operator/alice at https://ca.example.org:8443" || strings.Contains(shown, decimal) {
				t.Errorf("%s: %s", verb, shown)
			}
		}
	}
}

func TestResolveOrder(t *testing.T) {
	t.Setenv("HOME", "/home/x")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv(operctx.EnvContext, "")
	steps := []struct{ key, value, flag, want string }{
		{"HOME", "/home/x", "", "/home/x/.config/handfast/operator.yaml"},
		{"XDG_CONFIG_HOME", "relative", "", "/home/x/.config/handfast/operator.yaml"},
		{"XDG_CONFIG_HOME", "/cfg", "", "/cfg/handfast/operator.yaml"},
		{operctx.EnvContext, "/env.yaml", "", "/env.yaml"},
		{operctx.EnvContext, "/env.yaml", "/flag.yaml", "/flag.yaml"},
	}
	for _, s := range steps {
		t.Setenv(s.key, s.value)
		got, err := operctx.Resolve(s.flag)
		if err != nil || got != s.want {
			t.Errorf("%s=%s flag=%q: %q, %v; want %q", s.key, s.value, s.flag, got, err, s.want)
		}
	}
}

// What Parse accepts, Marshal writes and Parse reads back the same; what it refuses, it
// refuses without showing a key.
func FuzzParse(f *testing.F) {
	text := marshal(f, newContext(f, "spiffe://example.org/handfast/operator/alice"))
	f.Add([]byte(text))
	f.Add([]byte("ca: https://a:1\nroots: |\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := operctx.Parse("fuzz", data)
		if err != nil {
			return
		}
		again, err := operctx.Marshal(c)
		if err != nil {
			t.Fatalf("parsed, but cannot be written: %v", err)
		}
		back, err := operctx.Parse("again", again)
		if err != nil || !same(back, c) {
			t.Fatalf("round trip: %v, %v; want %v", back, err, c)
		}
	})
}

func same(a, b operctx.Context) bool {
	key, ok := a.Key.(interface{ Equal(crypto.PrivateKey) bool })
	return ok && key.Equal(b.Key) && a.CA == b.CA && a.TrustDomain == b.TrustDomain &&
		equalCerts(a.Roots, b.Roots) && equalCerts(a.Chain, b.Chain)
}

func equalCerts(a, b []*x509.Certificate) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

func marshal(t testing.TB, c operctx.Context) string {
	t.Helper()
	data, err := operctx.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// section returns the key at the beginning of a line and the indented lines below it.
func section(text, key string) string {
	start := strings.Index(text, "\n"+key) + 1
	end := start + strings.Index(text[start:], "\n") + 1
	for end < len(text) && text[end] == ' ' {
		end += strings.Index(text[end:], "\n") + 1
	}
	return text[start:end]
}

func newContext(t testing.TB, identity string) operctx.Context {
	t.Helper()
	id, err := url.Parse(identity)
	if err != nil {
		t.Fatal(err)
	}
	rootKey, key := newKey(t), newKey(t)
	root := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true, BasicConstraintsValid: true,
	}, nil, rootKey, rootKey)
	leaf := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), URIs: []*url.URL{id},
	}, root, key, rootKey)
	td, err := certs.ParseTrustDomain("example.org")
	if err != nil {
		t.Fatal(err)
	}
	return operctx.Context{
		CA: "https://ca.example.org:8443", TrustDomain: td,
		Roots: []*x509.Certificate{root}, Chain: []*x509.Certificate{leaf}, Key: key,
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
