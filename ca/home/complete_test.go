//go:build !race

// Nothing here runs concurrently, and stretching a passphrase takes the race detector twenty
// times as long: these tests run without it.

package home_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/certs"
)

func TestIntermediateSignedElsewhere(t *testing.T) {
	t.Parallel()
	csr := filepath.Join(t.TempDir(), "issuing.csr")
	result := mustInit(t, func(o *home.InitOptions) { o.CSROut = csr })
	dir := result.Config.Dir
	for _, path := range []string{dir.RootKey(), dir.RootCert(), dir.IssuingCert(), dir.RootCRL()} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
	if _, err := result.Config.Open(t.Context(), time.Now()); !errors.Is(err, home.ErrNoChain) {
		t.Errorf("open without a chain: %v; want ErrNoChain", err)
	}
	corporate, foreign := newAuthority(t, nil, nil), newAuthority(t, nil, nil)
	good := corporate.sign(t, csr, nil)
	withCDP := corporate.sign(t, csr, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://corp/crl"} })
	otherCSR := newCSR(t)
	tests := []struct {
		name  string
		chain []byte
		want  string
	}{
		{"without the root", pemOf(good), "add the root"},
		{"other root", pemOf(good, foreign.cert), "signature"},
		{"other key", pemOf(corporate.sign(t, otherCSR, nil), corporate.cert), "does not hold the key"},
		{"a leaf", pemOf(corporate.sign(t, csr, func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), corporate.cert), "not a CA certificate"},
		{"no certificates", []byte("hello"), "not PEM"},
		{"names a CRL", pemOf(withCDP, corporate.cert), "--root-crl"},
	}
	before := snapshot(t, string(dir))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := home.Complete(t.Context(), home.CompleteOptions{Dir: dir, ChainIn: write(t, filepath.Join(t.TempDir(), "chain.pem"), tt.chain), Now: time.Now()})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v; want %q in it", err, tt.want)
			}
		})
	}
	if diff := cmp.Diff(before, snapshot(t, string(dir))); diff != "" {
		t.Errorf("a refused chain changed something:\n%s", diff)
	}
	chain := write(t, filepath.Join(t.TempDir(), "chain.pem"), pemOf(good, corporate.cert))
	done, err := home.Complete(t.Context(), home.CompleteOptions{Dir: dir, ChainIn: chain, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if done.Fingerprint != certs.Fingerprint(corporate.cert) {
		t.Errorf("fingerprint %s", done.Fingerprint)
	}
	m, err := done.Config.Open(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if m.RootCRL != nil {
		t.Error("a root CRL came from nowhere")
	}
	if _, err := home.Complete(t.Context(), home.CompleteOptions{Dir: dir, ChainIn: chain, Now: time.Now()}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second time: %v; want fs.ErrExist", err)
	}
}

func TestRootCRL(t *testing.T) {
	t.Parallel()
	cfg := someCA(t)
	carried := filepath.Join(t.TempDir(), "root.key")
	if err := os.Rename(cfg.Dir.RootKey(), carried); err != nil {
		t.Fatal(err)
	}
	read := func() *x509.RevocationList {
		t.Helper()
		der, err := os.ReadFile(cfg.Dir.RootCRL())
		if err != nil {
			t.Fatal(err)
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	first := read()
	now := time.Now()
	renew := func(o home.RootCRLOptions) error {
		o.Now = now
		_, err := cfg.RenewRootCRL(t.Context(), o)
		return err
	}
	if err := renew(home.RootCRLOptions{RootKey: carried}); err != nil {
		t.Fatal(err)
	}
	second := read()
	if second.Number.Cmp(first.Number) <= 0 {
		t.Errorf("CRL number %v after %v", second.Number, first.Number)
	}
	issuing := readCert(t, cfg.Dir.IssuingCert())
	revoke := home.RootCRLOptions{RootKey: carried, Revoke: cfg.Dir.IssuingCert(), Reason: certs.CACompromise}
	for range 2 { // the second time it is there already
		if err := renew(revoke); err != nil {
			t.Fatal(err)
		}
	}
	if err := renew(home.RootCRLOptions{RootKey: carried}); err != nil {
		t.Fatal(err)
	}
	last := read()
	if len(last.RevokedCertificateEntries) != 1 || last.RevokedCertificateEntries[0].SerialNumber.Cmp(issuing.SerialNumber) != 0 ||
		last.RevokedCertificateEntries[0].ReasonCode != int(certs.CACompromise) {
		t.Errorf("entries %+v; want the issuing certificate, once, still there after a renewal", last.RevokedCertificateEntries)
	}
	if want := new(big.Int).Add(second.Number, big.NewInt(3)); last.Number.Cmp(want) != 0 {
		t.Errorf("number %v; want %v, rising though the clock stands still", last.Number, want)
	}

	other := newAuthority(t, nil, nil)
	old := write(t, filepath.Join(t.TempDir(), "old.crl"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: first.Raw}))
	for name, o := range map[string]home.RootCRLOptions{
		"not the key of":       {RootKey: other.keyPath},
		"not signed by this":   {RootKey: carried, Revoke: other.certPath},
		"cannot revoke itself": {RootKey: carried, Revoke: cfg.Dir.RootCert()},
		"numbers never fall":   {Import: old},
		"not a CRL":            {Import: cfg.Dir.Config()},
		"no such file":         {RootKey: "/nonexistent"},
		"wrong passphrase":     {RootKey: carried, PassphraseFile: write(t, filepath.Join(t.TempDir(), "p"), []byte("x\n"))},
	} {
		if err := renew(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error = %v; want %q in it", err, name)
		}
	}
	if got := read(); got.Number.Cmp(last.Number) != 0 {
		t.Errorf("a refused renewal replaced the CRL: number %v", got.Number)
	}
}
