//go:build !race

// Stretching a passphrase takes the race detector twenty times as long: see helpers_test.go.

package home_test

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore"
)

// Two people who revoke at the same time both succeed: neither revocation is lost.
func TestRootCRLLosesNoRevocation(t *testing.T) {
	t.Parallel()
	cfg := someCA(t)
	passphrase, err := cfg.ReadPassphrase()
	if err != nil {
		t.Fatal(err)
	}
	signer, closer, err := keystore.Open(t.Context(), keystore.FileScheme+cfg.Dir.RootKey(), passphrase)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	root, dir := readCert(t, cfg.Dir.RootCert()), t.TempDir()
	const people = 8
	var wait sync.WaitGroup
	for i := range people {
		key, err := issuer.GenerateKey(issuer.ECDSAP256)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := issuer.NewIntermediate(root, signer, key.Public(), issuer.IntermediateRequest{TrustDomain: cfg.TrustDomain, NotBefore: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		path := write(t, filepath.Join(dir, fmt.Sprint(i)), pemOf(cert))
		wait.Go(func() {
			if _, err := cfg.RenewRootCRL(t.Context(), home.RootCRLOptions{RootKey: cfg.Dir.RootKey(), Revoke: path, Now: time.Now()}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	der, err := os.ReadFile(cfg.Dir.RootCRL())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]*big.Int{}
	for _, entry := range list.RevokedCertificateEntries {
		seen[entry.SerialNumber.String()] = entry.SerialNumber
	}
	if len(seen) != people {
		t.Errorf("%d of %d revocations are on the list", len(seen), people)
	}
}
