//go:build e2e

// Package e2e tests the real binaries with real clients: openssl, curl, GnuTLS, Java, and
// kill -9. Run `make build` first; `make test` does both.
package e2e

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/harness"
)

const trustDomain = "e2e.internal"

// The short profile lives for the shortest time that is allowed and is renewed far earlier; the
// stapled one demands a staple, the brief one has nothing about revocation to look up.
const moreProfiles = `
  short:
    lifetime: 1m
    backdate: 5s
    renew_after: 5s
    grace: 10m
  stapled:
    must_staple: true
  brief:
    lifetime: 10m
    no_rev_avail_below: 15m
`

func binaries(t *testing.T) string {
	t.Helper()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "handfast-ca")); err != nil {
		t.Fatalf("the binaries are not built: run make build (%v)", err)
	}
	return bin
}

// How long something may take that works: far longer than it does, because the machine may be slow and
// busy with all the other tests. What hangs shall fail a test, and not stop the run.
const (
	testLimit = 8 * time.Minute
	stepLimit = 2 * time.Minute
)

// within bounds a test.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	t.Cleanup(cancel)
	return ctx
}

// startCA returns a running authority that has moreProfiles.
func startCA(ctx context.Context, t *testing.T) *harness.CA {
	t.Helper()
	return startCAIn(ctx, t, filepath.Join(t.TempDir(), "ca"))
}

func startCAIn(ctx context.Context, t *testing.T, dir string) *harness.CA {
	t.Helper()
	ca, _, err := harness.InitCA(ctx, binaries(t), dir, trustDomain)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(ca.Dir, "config.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(config), "\nprofiles:\n", "\nprofiles:"+moreProfiles, 1)
	if changed == string(config) {
		t.Fatal("config.yaml has no section of profiles")
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	serve(ctx, t, ca)
	return ca
}

func serve(ctx context.Context, t *testing.T, ca *harness.CA) {
	t.Helper()
	if err := ca.Serve(ctx); err != nil {
		t.Fatal(err)
	}
	process := ca.Process
	t.Cleanup(func() {
		if err := process.Stop(); err != nil && ca.Process == process {
			t.Errorf("handfast-ca did not stop cleanly: %v", err)
		}
	})
}

func handfast(ctx context.Context, t *testing.T, ca *harness.CA, args ...string) string {
	t.Helper()
	out, err := ca.Handfast(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := harness.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func startAgent(ctx context.Context, t *testing.T, ca *harness.CA, service, dir string, args ...string) *harness.Process {
	t.Helper()
	agent, err := ca.Agent(ctx, service, dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Stop() }) // the test itself says how it is to end
	return agent
}

// client returns an API client that is closed with the test.
func client(t *testing.T, connect func() (*api.Client, error)) *api.Client {
	t.Helper()
	c, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCSR(t *testing.T) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// need skips a test whose client is not here; `make test` installs them all.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed (make test installs it when it runs as root)", program)
	}
}

func run(ctx context.Context, t *testing.T, argv ...string) string {
	t.Helper()
	out, err := harness.Run(ctx, nil, argv...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// eventually calls check until it succeeds or the time is up.
func eventually(ctx context.Context, t *testing.T, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %v", stepLimit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
