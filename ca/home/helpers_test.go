//go:build !race

// Nothing here runs concurrently, and stretching a passphrase takes the race detector twenty
// times as long: these tests run without it.

package home_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore/keystoretest"
)

func options(dir string) home.InitOptions {
	return home.InitOptions{
		Dir: home.Dir(dir),
		Settings: home.Settings{
			TrustDomain: "prod.example.org", Address: "127.0.0.1:9000", PublicAddress: "127.0.0.1:9001",
		},
		Now: time.Now(),
	}
}

func mustInit(t *testing.T, change func(*home.InitOptions)) *home.Result {
	t.Helper()
	o := options(filepath.Join(t.TempDir(), "ca"))
	if change != nil {
		change(&o)
	}
	result, err := home.Init(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// made is a CA that is made once, because its passphrase costs time by design; tests get
// copies, whose keys open quickly.
var made = sync.OnceValues(func() (home.Dir, error) {
	parent, err := os.MkdirTemp("", "handfast-home-test-")
	if err != nil {
		return "", err
	}
	dir := home.Dir(filepath.Join(parent, "ca"))
	result, err := home.Init(context.Background(), options(string(dir)))
	if err != nil {
		return dir, err
	}
	passphrase, err := result.Config.ReadPassphrase()
	if err != nil {
		return dir, err
	}
	return dir, errors.Join(keystoretest.QuickenKey(dir.IssuingKey(), passphrase),
		keystoretest.QuickenKey(dir.RootKey(), passphrase), keystoretest.QuickenSecret(dir.TokenKey(), passphrase))
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := made(); err == nil {
		os.RemoveAll(filepath.Dir(string(dir))) //nolint:errcheck // a temporary directory
	}
	os.Exit(code)
}

// someCA is a CA of the test's own.
func someCA(t *testing.T) *home.Config {
	t.Helper()
	original, err := made()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := home.Load(copyOf(t, original), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// newCSR is a request for an intermediate with a key of its own.
func newCSR(t *testing.T) string {
	t.Helper()
	key, err := issuer.GenerateKey(issuer.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	td, err := certs.ParseTrustDomain("prod.example.org")
	if err != nil {
		t.Fatal(err)
	}
	der, err := issuer.NewIntermediateCSR(key, issuer.IntermediateRequest{TrustDomain: td})
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(t.TempDir(), "other.csr"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// snapshot is every file below dir with its content and mode.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content := []byte(nil)
		if !entry.IsDir() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		relative, err := filepath.Rel(dir, path)
		out[relative] = info.Mode().String() + " " + string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readCert(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// authority is a CA that exists outside of Handfast.
type authority struct {
	cert              *x509.Certificate
	key               crypto.Signer
	certPath, keyPath string
}

func newAuthority(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) *authority {
	t.Helper()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Corporate Root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(5 * 365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1, 2, 3, 4},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return &authority{
		cert: cert, key: key,
		certPath: write(t, filepath.Join(dir, "corp.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		keyPath:  write(t, filepath.Join(dir, "corp.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}
}

// sign answers a request for an intermediate.
func (a *authority) sign(t *testing.T, csrPath string, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(csrPath)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(8), Subject: csr.Subject, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{9, 9, 9},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, csr.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func pemOf(certificates ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

// copyOf is a CA's directory that a test may break.
func copyOf(t *testing.T, dir home.Dir) home.Dir {
	t.Helper()
	to := filepath.Join(t.TempDir(), "ca")
	if err := os.CopyFS(to, os.DirFS(string(dir))); err != nil {
		t.Fatal(err)
	}
	out := home.Dir(to)
	for _, path := range []string{out.Passphrase(), out.IssuingKey(), out.TokenKey(), out.RootKey()} {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, append(content, text...))
}
