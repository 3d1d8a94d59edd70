package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	// Runs the real main as its own process, for each line of a script.
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/handfast/handfast/cmd/handfast/internal/creddir"
	"github.com/handfast/handfast/internal/operctx"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"handfast": mainOfScripts})
}

// scriptNow has, in the environment, the time at which a script was set up. It stands still, so that "in 45m"
// is what a command prints however busy the machine is.
const scriptNow = "HANDFAST_TEST_NOW"

// mainOfScripts is main by scriptNow.
func mainOfScripts() {
	now, err := time.Parse(time.RFC3339, os.Getenv(scriptNow))
	if err == nil {
		err = runBy(context.Background(), func() time.Time { return now }, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	}
	os.Exit(report(os.Stderr, err))
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return setUp(t, env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"json": scriptJSON,
			"mode": scriptMode,
		},
	})
}

// setUp gives a script a CA of its own and contexts of every kind.
func setUp(t *testing.T, env *testscript.Env) error {
	ca := newFakeCA(t)
	env.Defer(ca.close)
	impostor := startTLS(ca.routes(), ca.serverCertificate(t, "gateway"))
	env.Defer(impostor.Close)
	service := startTLS(ca.routes(), ca.recorded(t, "gateway"))
	env.Defer(service.Close)

	month := 30 * 24 * time.Hour
	contexts := map[string]operctx.Context{
		"config/handfast/operator.yaml": ca.context(t, ca.api, "admin", -time.Hour, month),
		"reader.yaml":                   ca.context(t, ca.api, "reader", -time.Hour, month),
		"near.yaml":                     ca.context(t, ca.api, "near", -month, 24*time.Hour+30*time.Second),
		"expired.yaml":                  ca.context(t, ca.api, "late", -month, -73*time.Hour),
		"future.yaml":                   ca.context(t, ca.api, "early", time.Hour, month),
		"impostor.yaml":                 ca.context(t, impostor, "admin", -time.Hour, month),
		"foreign.yaml":                  newPKI(t, "").context(t, ca.api, "admin", -time.Hour, month),
		"down.yaml":                     ca.context(t, &httptest.Server{URL: "https://" + unusedAddress(t)}, "admin", -time.Hour, month),
		"readable.yaml":                 ca.context(t, ca.api, "admin", -time.Hour, month),
	}
	for name, c := range contexts {
		if err := operctx.Save(filepath.Join(env.WorkDir, name), c); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(env.WorkDir, "readable.yaml"), 0o644); err != nil {
		return err
	}
	if err := ca.expiredCredential(t, filepath.Join(env.WorkDir, "expired")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(env.WorkDir, "ca-roots.pem"), certificatePEM(ca.root), 0o600); err != nil {
		return err
	}
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv(scriptNow, ca.now.Format(time.RFC3339))
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command sleeps for a second under the race detector
	env.Setenv("CA", ca.api.Listener.Addr().String())
	env.Setenv("SERVER", service.Listener.Addr().String())
	env.Setenv("PUBLIC", ca.public.URL)
	return nil
}

// recorded is a service's server certificate that the ledger knows.
func (f *fakeCA) recorded(t *testing.T, service string) (certificate tls.Certificate) {
	t.Helper()
	key := newKey(t)
	issued := f.issued(leaf{path: service, dns: []string{"gw.example.org"}, notBefore: -time.Minute, notAfter: time.Hour, shard: "4/1"}, key.Public())
	return tls.Certificate{Certificate: issued.Chain, PrivateKey: key}
}

func (p *pki) context(t *testing.T, server *httptest.Server, name string, notBefore, notAfter time.Duration) operctx.Context {
	t.Helper()
	key := newKey(t)
	cert := p.leaf(t, leaf{path: "handfast/operator/" + name, notBefore: notBefore, notAfter: notAfter, noURLs: true}, key.Public())
	return operctx.Context{
		CA: server.URL, TrustDomain: p.td, Roots: []*x509.Certificate{p.root}, Chain: []*x509.Certificate{cert, p.issuer}, Key: crypto.Signer(key),
	}
}

func (f *fakeCA) expiredCredential(t *testing.T, dir string) error {
	key := newKey(t)
	cert := f.leaf(t, leaf{path: "gateway", notBefore: -time.Hour, notAfter: -10 * time.Minute}, key.Public())
	return creddir.Write(dir, creddir.Files{Cert: certificatePEM(cert, f.issuer), Key: keyPEM(t, key), Roots: certificatePEM(f.root)})
}

// scriptJSON is `json FILE PATH [VALUE | =VARIABLE]`: FILE (or stdout) is exactly one JSON value, PATH (dots
// and indexes) is in it, and has the value, or is stored in the variable.
func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: json FILE PATH [VALUE | =VARIABLE]")
	}
	var value any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &value); err != nil {
		ts.Fatalf("%s is no JSON: %v", args[0], err)
	}
	found := true
	for part := range strings.SplitSeq(args[1], ".") {
		value, found = step(value, part)
		if !found {
			break
		}
	}
	if found == neg {
		ts.Fatalf("%s: present is %v", args[1], found)
	}
	if neg || len(args) == 2 {
		return
	}
	text := fmt.Sprint(value)
	if name, ok := strings.CutPrefix(args[2], "="); ok {
		ts.Setenv(name, text)
	} else if text != args[2] {
		ts.Fatalf("%s is %q; want %q", args[1], text, args[2])
	}
}

func step(value any, part string) (any, bool) {
	switch v := value.(type) {
	case map[string]any:
		inner, ok := v[part]
		return inner, ok
	case []any:
		if part == "length" {
			return len(v), true
		}
		i, err := strconv.Atoi(part)
		if err != nil || i >= len(v) {
			return nil, false
		}
		return v[i], true
	default:
		return nil, false
	}
}

// scriptMode is `mode FILE OCTAL`.
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); (got == args[1]) == neg {
		ts.Fatalf("mode of %s is %s", args[0], got)
	}
}
