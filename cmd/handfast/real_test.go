package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/internal/harness"
	"github.com/handfast/handfast/internal/operctx"
)

// The fake CA of the other tests is this project's own idea of a CA. Here each command
// meets the real one, over real TLS, with its real CRLs and OCSP.
func TestEveryCommandAgainstTheRealCA(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts handfast-ca")
	}
	ctx := t.Context() // the first build on a slow machine takes minutes
	bin, work := t.TempDir(), t.TempDir()
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", bin, "../handfast-ca")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build handfast-ca: %v\n%s", err, out)
	}
	ca, out, err := harness.InitCA(ctx, bin, filepath.Join(work, "ca"), testDomain)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fatal(t, ca.Serve(ctx))
	t.Cleanup(func() { _ = ca.Process.Kill() })
	t.Setenv(operctx.EnvContext, ca.Context())
	t.Chdir(work)
	fatal(t, os.WriteFile("services.yaml", []byte("services:\n  - name: shop\n    callers: [gateway]\n    ttl: 20m\n  - name: gateway\n"), 0o600))

	steps := []struct {
		line string
		code fault.Code
		want string // on either stream
	}{
		{"status", fault.OK, "ready"},
		{"service add gateway --dns localhost --ip 127.0.0.1", fault.OK, "spiffe://example.org/gateway"},
		{"service add gateway", fault.Refused, "--replace"},
		{"service apply services.yaml", fault.OK, "1 created, 1 updated"},
		{"service apply services.yaml", fault.OK, "2 unchanged"},
		{"service list -o wide", fault.OK, "20m0s"},
		{"service show none", fault.NotFound, "not_found"},
		{"token shop", fault.OK, "eyJ"},
		{"issue shop --out tls --key-algorithm ed25519", fault.OK, "spiffe://example.org/shop"},
		{"verify tls/cert.pem --id spiffe://example.org/shop", fault.OK, "yes, it verifies"},
		{"renew --dir tls", fault.OK, "spiffe://example.org/shop"},
		{"inspect tls/cert.pem", fault.OK, "not revoked"},
		{"list --service shop", fault.OK, "valid"},
		{"revoke --spiffe-id spiffe://example.org/shop --hold --yes", fault.OK, "2 certificates put on hold"},
		{"inspect tls/cert.pem", fault.OK, "reason certificateHold"},
		{"verify tls/cert.pem", fault.Unverified, "revoked"},
		{"list --status held", fault.OK, "held"},
		{"renew --dir tls", fault.Refused, "code held"},
		{"revoke --cert tls/cert.pem --unhold", fault.OK, "1 certificate released"},
		{"inspect tls/cert.pem", fault.OK, "not revoked"},
		{"revoke --service shop --unhold --yes", fault.OK, "1 certificate released"},
		{"revoke --all --issued-before 1h --dry-run", fault.OK, "0 certificates would be revoked"},
		{"revoke --all --issued-before 0s --dry-run", fault.OK, "2 certificates would be revoked"},
		{"revoke --cert tls/cert.pem --reason keyCompromise", fault.OK, "1 certificate revoked"},
		{"inspect tls/cert.pem", fault.OK, "reason keyCompromise"},
		{"verify tls/cert.pem", fault.Unverified, "revoked"},
		{"renew --dir tls", fault.Refused, "code revoked"},
		{"revoke --service shop --yes --wait", fault.OK, "no agent follows the feed"},
		{"agents", fault.OK, "SERVICE"},
		{"list --revoked -o json", fault.OK, "keyCompromise"},
		{"bench issue --requests 40 --concurrency 4 --yes", fault.OK, "certs/s"},
		{"bench renew --requests 40 --concurrency 4 --yes -o json", fault.OK, "certificates_per_second"},
		{"list --service handfast-bench -o json", fault.OK, "handfast-bench"},
		{"service show handfast-bench", fault.NotFound, "not_found"},
		{"service add load", fault.OK, "load"},
		{"bench renew --service load --requests 5 --yes", fault.OK, "certs/s"},
		{"service show load", fault.OK, "load"},
		{"operator add bob --role reader", fault.OK, "bob.yaml"},
		{"bench issue --yes --context bob.yaml", fault.Refused, "code forbidden"},
		{"list --context bob.yaml", fault.OK, "shop"},
		{"token shop --context bob.yaml", fault.Refused, "code forbidden"},
		{"operator renew --context bob.yaml", fault.OK, "renewed"},
		{"operator remove bob", fault.OK, "its certificates are revoked"},
		{"list --context bob.yaml", fault.Refused, "handfast operator add"},
		{"inspect " + ca.API, fault.OK, "spiffe://example.org/handfast/ca"},
		{"verify " + ca.API + " --usage server", fault.OK, "yes, it verifies"},
		{"service remove shop", fault.OK, "removed"},
		{"issue shop --out other", fault.NotFound, "shop"},
	}
	for _, s := range steps {
		stdout, stderr, code := runs(t, strings.Fields(s.line)...)
		// CRLs follow a revocation within a second; everything else shows at once.
		for deadline := time.Now().Add(time.Minute); s.want == "revoked" && code != s.code && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
			stdout, stderr, code = runs(t, strings.Fields(s.line)...)
		}
		if code != s.code || !strings.Contains(stdout+stderr, s.want) {
			t.Fatalf("handfast %s: code %d, want %d and %q\nstdout: %s\nstderr: %s", s.line, code, s.code, s.want, stdout, stderr)
		}
		if strings.HasSuffix(s.line, "-o json") && !json.Valid([]byte(stdout)) {
			t.Errorf("handfast %s: no JSON: %s", s.line, stdout)
		}
	}
}
