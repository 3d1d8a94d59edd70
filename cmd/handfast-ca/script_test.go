package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript" // runs the real main as users do, one script a story

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/internal/harness"
)

func TestMain(m *testing.M) {
	testscript.Main(cleaning{m}, map[string]func(){"handfast-ca": main})
}

// cleaning removes the CA that the tests share.
type cleaning struct{ m *testing.M }

func (c cleaning) Run() int {
	parent, err := os.MkdirTemp("", "handfast-ca-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(parent) //nolint:errcheck // a temporary directory
	made = sync.OnceValues(func() (*harness.CA, error) { return makeCA(filepath.Join(parent, "ca")) })
	return c.m.Run()
}

func TestScripts(t *testing.T) {
	if underRace {
		t.Skip("each command is a process of its own that stretches a passphrase: no race to find, and twenty times as slow")
	}
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"API", "PUBLIC"} {
				address, err := harness.FreeAddress()
				if err != nil {
					return err
				}
				env.Setenv(name, address)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"newca":  newCAFor,
			"lock":   lock,
			"occupy": occupy,
		},
	})
}

// newCAFor puts a CA into a directory and its addresses into $API and $PUBLIC.
func newCAFor(ts *testscript.TestScript, _ bool, args []string) {
	ca, err := newCAIn(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Setenv("API", ca.API)
	ts.Setenv("PUBLIC", ca.Public)
}

// lock takes a CA's directory, as a running daemon does, until the script ends.
func lock(ts *testscript.TestScript, _ bool, args []string) {
	release, err := home.Dir(ts.MkAbs(args[0])).Lock()
	ts.Check(err)
	ts.Defer(func() { ts.Check(release()) })
}

// occupy listens on an address until the script ends.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	listener, err := listen(context.Background(), args[0])
	ts.Check(err)
	ts.Defer(func() { ts.Check(listener.Close()) })
}

// TestExitCodes pins the numbers, which scripts of operators depend on.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"version"}, 0},
		{[]string{"--help"}, 0},
		{[]string{"serve", "--help"}, 0},
		{[]string{"nonsense"}, exitUsage},
		{[]string{"serve", "--nonsense"}, exitUsage},
		{[]string{"serve", "extra"}, exitUsage},
		{[]string{"init", "--dir", t.TempDir()}, exitUsage},
		{[]string{"init", "--dir", t.TempDir(), "--trust-domain", "a", "--key-algorithm", "dsa"}, exitUsage},
		// A flag that would do nothing is a mistake, and says so.
		{[]string{"init", "--dir", t.TempDir(), "--chain-in", "c", "--trust-domain", "a"}, exitUsage},
		{[]string{"init", "--dir", t.TempDir(), "--chain-in", "c", "--passphrase-file", "p"}, exitUsage},
		{[]string{"init", "--dir", t.TempDir(), "--chain-in", "c", "--operator", "bob"}, exitFailure},
		{[]string{"init", "--dir", t.TempDir(), "--trust-domain", "a", "--csr-out", "r", "--issuing-lifetime", "9h"}, exitUsage},
		{[]string{"init", "--dir", t.TempDir(), "--trust-domain", "a", "--csr-out", "r", "--operator", "bob"}, exitUsage},
		{[]string{"init", "--dir", t.TempDir(), "--trust-domain", "a", "--root-cert", "r", "--root-key", "k", "--root-lifetime", "9h"}, exitUsage},
		{[]string{"root-crl", "--dir", t.TempDir(), "--root-key", "k", "--reason", "superseded"}, exitUsage},
		{[]string{"root-crl", "--dir", t.TempDir(), "--root-key", "k", "--revoke", "c", "--reason", "removeFromCRL"}, exitUsage},
		{[]string{"root-crl", "--dir", t.TempDir(), "--root-key", "k", "--revoke", "c", "--reason", "certificateHold"}, exitUsage},
		{[]string{"root-crl", "--dir", t.TempDir(), "--root-key", "k", "--revoke", "c", "--reason", "cACompromise"}, exitFailure},
		{[]string{"root-crl", "--dir", t.TempDir(), "--import", "k", "--passphrase-file", "p"}, exitUsage},
		{[]string{"operator", "--dir", t.TempDir()}, exitUsage},
		{[]string{"operator", "--dir", t.TempDir(), "--name", "a", "--out", "b", "--role", "king"}, exitUsage},
		{[]string{"root-crl", "--dir", t.TempDir()}, exitUsage},
		{[]string{"root-crl", "--dir", t.TempDir(), "--root-key", "k", "--reason", "boredom"}, exitUsage},
		{[]string{"backup", "--dir", t.TempDir()}, exitUsage},
		{[]string{"restore", "--dir", t.TempDir()}, exitUsage},
		{[]string{"restore", "--dir", t.TempDir(), "--from", "copy.db"}, exitFailure},
		{[]string{"serve", "--dir", t.TempDir()}, exitFailure},
		{[]string{"check", "--dir", t.TempDir()}, exitFailure},
		{[]string{"migrate", "--dir", t.TempDir()}, exitFailure},
	} {
		err := run(t.Context(), tt.args, nil, discard{}, discard{})
		if got := report(discard{}, err); got != tt.want {
			t.Errorf("%v: exit code %d (%v); want %d", tt.args, got, err, tt.want)
		}
	}
	if dir, ok := os.LookupEnv("HANDFAST_DIR"); ok {
		t.Errorf("HANDFAST_DIR=%s leaks into the tests", dir)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
