//go:build !race

// Nothing here runs concurrently, and stretching a passphrase takes the race detector twenty
// times as long: these tests run without it.

package home_test

import (
	"crypto"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/issuer"
)

// draftFor is the outcome of a draft for pub under the CA's own default profile.
func draftFor(t *testing.T, m *home.Material, profile issuer.ProfileConfig, pub crypto.PublicKey) error {
	t.Helper()
	compiled, err := m.Issuer.Compile(profile, issuer.Endpoints{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := issuer.CheckKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	id, err := profile.TrustDomain.ID("web")
	if err != nil {
		t.Fatal(err)
	}
	_, err = compiled.Draft(issuer.Subject{ID: id, Key: key}, time.Now())
	return err
}

// Invariant 9: the CA's own keys and those on the operator's list get no certificate.
func TestInvariant09RefusedKeys(t *testing.T) {
	t.Parallel()
	listed, err := issuer.GenerateKey(issuer.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := issuer.GenerateKey(issuer.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	key, err := issuer.CheckKey(listed.Public())
	if err != nil {
		t.Fatal(err)
	}
	digest := key.Digest()
	dir := someCA(t).Dir
	write(t, filepath.Join(string(dir), "refused.txt"), []byte("# leaked\n"+hex.EncodeToString(digest[:])+" the laptop that was stolen\n"))
	appendTo(t, dir.Config(), "refused_keys_file: refused.txt\n")
	cfg, err := home.Load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := cfg.Open(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, tt := range []struct {
		name string
		pub  crypto.PublicKey
		want string // in the refusal; "" is none
	}{
		{"the root's", m.Root.PublicKey, "the root"},
		{"the issuing certificate's", m.Chain[0].PublicKey, "the CA itself"},
		{"listed", listed.Public(), "the laptop that was stolen"},
		{"fresh", fresh.Public(), ""},
	} {
		err := draftFor(t, m, cfg.Profiles[0], tt.pub)
		if tt.want == "" && err == nil {
			continue
		}
		if tt.want == "" || !errors.Is(err, issuer.ErrWeakKey) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s key: %v; want %q", tt.name, err, tt.want)
		}
	}
}

// A CA that cannot read the list does not start: it would issue for what is on it.
func TestRefusedKeysMustBeReadable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, content, want string }{
		{"missing", "", "config.yaml:9:20: refused_keys_file: open refused.txt: no such file"},
		{"no digest", "deadbeef\n", "refused.txt:1: a line begins with the SHA-256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := home.Dir(t.TempDir())
			write(t, dir.Config(), []byte(minimal+"refused_keys_file: refused.txt\n"))
			if tt.content != "" {
				write(t, filepath.Join(string(dir), "refused.txt"), []byte(tt.content))
			}
			_, err := home.Load(dir, nil)
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), string(dir)+"/", ""), tt.want) {
				t.Errorf("error = %v; want %q", err, tt.want)
			}
		})
	}
}
