//go:build cgo

package keystore

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	// The driver under go.step.sm/crypto/kms/pkcs11, whose CreateKey fails with the version that it asks for.
	"github.com/ThalesGroup/crypto11"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// softHSM makes a token named handfast and returns the path of its module.
func softHSM(t *testing.T, pin string) string {
	t.Helper()
	util, err := exec.LookPath("softhsm2-util")
	if err != nil {
		t.Skip("softhsm2-util is missing: apt-get install softhsm2")
	}
	var module string
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib*/pkcs11/libsofthsm2.so"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			module = found[0]
		}
	}
	if module == "" {
		t.Skip("libsofthsm2.so is missing: apt-get install softhsm2")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	write(t, config, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600)
	t.Setenv("SOFTHSM2_CONF", config)
	out, err := exec.Command(util, "--init-token", "--free", "--label", "handfast", "--pin", pin, "--so-pin", "87654321").CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	return module
}

// makeKeys does what an operator does with the HSM's own tools.
func makeKeys(t *testing.T, module, pin string) {
	t.Helper()
	hsm, err := crypto11.Configure(&crypto11.Config{Path: module, TokenLabel: "handfast", Pin: pin})
	if err != nil {
		t.Fatal(err)
	}
	for id, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		if _, err := hsm.GenerateECDSAKeyPairWithLabel([]byte{byte(id + 1)}, fmt.Appendf(nil, "issuing-%d", id), curve); err != nil {
			t.Fatal(err)
		}
	}
	if err := hsm.Close(); err != nil {
		t.Fatal(err)
	}
}

// A CA whose key lives in an HSM: made there, opened by URI with the PIN as the
// passphrase or from a file, and used for an issuer.
func TestPKCS11(t *testing.T) {
	const pin = "735194"
	module := softHSM(t, pin)
	token := "pkcs11:module-path=" + module + ";token=handfast"
	ctx := context.Background()
	makeKeys(t, module, pin)
	pinFile := filepath.Join(t.TempDir(), "pin")
	write(t, pinFile, []byte(pin), 0o600)
	for _, c := range []struct {
		uri        string
		passphrase []byte
	}{
		{token + ";object=issuing-0", []byte(pin)},
		{token + ";id=02?pin-source=" + url.QueryEscape(pinFile), nil},
	} {
		signer, closer, err := Open(ctx, c.uri, c.passphrase)
		if err != nil {
			t.Fatal(err)
		}
		issueWith(t, signer)
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, uri := range map[string]string{"no such key": token + ";object=other", "no such token": strings.Replace(token, "handfast", "other", 1) + ";object=issuing-0"} {
		if _, _, err := Open(ctx, uri, []byte(pin)); err == nil || strings.Contains(err.Error(), pin) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Open(ctx, token+";object=issuing-0?pin-value=000000", nil); err == nil || strings.Contains(err.Error(), "000000") {
		t.Errorf("wrong PIN: %v", err)
	}
}

// issueWith makes a CA around signer and issues one certificate.
func issueWith(t *testing.T, signer crypto.Signer) {
	t.Helper()
	td, err := certs.ParseTrustDomain("prod.example.org")
	if err != nil {
		t.Fatal(err)
	}
	rootKey, err := issuer.GenerateKey(issuer.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	root, err := issuer.NewRoot(rootKey, issuer.RootRequest{TrustDomain: td, NotBefore: now})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := issuer.NewIntermediate(root, rootKey, signer.Public(), issuer.IntermediateRequest{TrustDomain: td, NotBefore: now})
	if err != nil {
		t.Fatal(err)
	}
	i, err := issuer.New([]*x509.Certificate{cert}, signer)
	if err != nil {
		t.Fatal(err)
	}
	config := issuer.ServiceDefault()
	config.TrustDomain, config.KeyAlgorithms = td, []issuer.Algorithm{issuer.ECDSAP256}
	profile, err := i.Compile(config, issuer.Endpoints{})
	if err != nil {
		t.Fatal(err)
	}
	leafKey, err := issuer.GenerateKey(issuer.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	key, err := issuer.CheckKey(leafKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	id, err := td.ID("web")
	if err != nil {
		t.Fatal(err)
	}
	draft, err := profile.Draft(issuer.Subject{ID: id, Key: key}, now)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := draft.Check()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := i.Sign(checked)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(signed.DER)
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.CheckSignatureFrom(cert); err != nil {
		t.Fatal(err)
	}
}
