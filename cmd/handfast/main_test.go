package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/handfast/handfast/cmd/handfast/internal/creddir"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
	"github.com/handfast/handfast/internal/operctx"
)

// runs executes a command line in this process.
func runs(t *testing.T, args ...string) (stdout, stderr string, code fault.Code) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(""), &out, &errs)
	exit := report(&errs, err)
	return out.String(), errs.String(), fault.Code(exit)
}

// contextAt saves an operator's context and makes it the default.
func contextAt(t *testing.T, ca *fakeCA, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".yaml")
	fatal(t, operctx.Save(path, ca.context(t, ca.api, name, -time.Hour, 720*time.Hour)))
	t.Setenv(operctx.EnvContext, path)
	return path
}

func TestExitCodes(t *testing.T) {
	ca := newFakeCA(t)
	t.Cleanup(ca.close)
	admin := contextAt(t, ca, "admin")
	reader := contextAt(t, ca, "reader")
	t.Setenv(operctx.EnvContext, admin)
	down := filepath.Join(t.TempDir(), "down.yaml")
	c := ca.context(t, ca.api, "admin", -time.Hour, time.Hour)
	c.CA = "https://" + unusedAddress(t)
	fatal(t, operctx.Save(down, c))
	foreign := filepath.Join(t.TempDir(), "foreign.yaml")
	fatal(t, operctx.Save(foreign, newPKI(t, "").context(t, ca.api, "admin", -time.Hour, time.Hour)))
	old := filepath.Join(t.TempDir(), "old")
	fatal(t, ca.expiredCredential(t, old))
	cert := filepath.Join(old, creddir.CertFile)

	tests := []struct {
		args string
		want fault.Code
	}{
		{"status", fault.OK},
		{"help exit-codes", fault.OK},
		{"status --context " + reader, fault.Failure}, // the fake is not ready for readers
		{"issue gateway --out " + old, fault.Failure},
		{"", fault.OK},
		{"nonsense", fault.Usage},
		{"service", fault.Usage},
		{"token", fault.Usage},
		{"list --nope", fault.Usage},
		{"list -o csv", fault.Usage},
		{"revoke", fault.Usage},
		{"revoke --service gateway", fault.Usage},
		{"revoke --serial zz", fault.Usage},
		{"token gateway --context " + reader, fault.Refused},
		{"service add gateway", fault.Refused},
		{"status --context " + down, fault.Unreachable},
		{"service show none", fault.NotFound},
		{"inspect none", fault.NotFound},
		{"inspect ffff", fault.NotFound},
		{"verify none.pem", fault.NotFound},
		{"service apply none.yaml", fault.NotFound},
		{"renew --dir none", fault.NotFound},
		{"status --context none.yaml", fault.NotFound},
		{"verify " + cert, fault.Unverified},
		{"revoke --serial 0a01 --reason superseded --wait", fault.OK},
		{"revoke --serial 0a02 --wait --timeout 6s", fault.Incomplete},
		{"status --context " + foreign, fault.Unverified},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			stdout, stderr, code := runs(t, strings.Fields(tt.args)...)
			if code != tt.want {
				t.Fatalf("exit code %d; want %d\nstdout: %s\nstderr: %s", code, tt.want, stdout, stderr)
			}
			if (code != fault.OK) != strings.Contains("\n"+stderr, "\nhandfast: ") {
				t.Errorf("stderr = %q", stderr)
			}
		})
	}
}

func TestEveryListingAndShowHasJSON(t *testing.T) {
	ca := newFakeCA(t)
	t.Cleanup(ca.close)
	contextAt(t, ca, "admin")
	old := filepath.Join(t.TempDir(), "old")
	fatal(t, ca.expiredCredential(t, old))
	for _, line := range []string{
		"service list", "service show gateway", "service add web", "token gateway", "list", "revoke --serial 0a01", "revoke --serial 0a01 --reason superseded --wait", "agents", "operator list", "status",
		"inspect " + filepath.Join(old, "cert.pem"), "verify " + filepath.Join(old, "cert.pem"), "renew --dir " + old,
	} {
		stdout, stderr, _ := runs(t, append(strings.Fields(line), "-o", "json")...)
		if !json.Valid([]byte(stdout)) {
			t.Errorf("%s -o json: %q, stderr %q", line, stdout, stderr)
		}
	}
}

// No colour where nobody sees it; and nothing else that only a terminal understands.
func TestPipesGetNoEscapes(t *testing.T) {
	ca := newFakeCA(t)
	t.Cleanup(ca.close)
	contextAt(t, ca, "admin")
	t.Setenv("TERM", "xterm-256color")
	for _, line := range []string{"list", "list -o wide", "service list", "status", "service show none", "revoke --serial 0a01", "--help", "help exit-codes"} {
		stdout, stderr, _ := runs(t, strings.Fields(line)...)
		if strings.Contains(stdout+stderr, "\x1b") {
			t.Errorf("%s writes an escape: %q %q", line, stdout, stderr)
		}
	}
}

// Invariant 18 for the CLI: a private key stands in its own file and nowhere else.
func TestPrivateKeysAreNeverShown(t *testing.T) {
	ca := newFakeCA(t)
	t.Cleanup(ca.close)
	own := contextAt(t, ca, "admin")
	dir := filepath.Join(t.TempDir(), "tls")
	alice := filepath.Join(t.TempDir(), "alice.yaml")
	var shown strings.Builder
	for _, line := range []string{
		"issue gateway --out " + dir, "issue gateway --out " + dir, "inspect " + dir + "/key.pem", "inspect -o json " + dir + "/key.pem",
		"verify " + dir + "/key.pem", "revoke --cert " + dir + "/key.pem", "renew --dir " + dir + " --ca 127.0.0.1:1", "operator add alice --role reader --out " + alice,
		"inspect " + alice, "inspect " + own, "service apply " + own, "issue gateway --force --out " + dir + " --csr " + dir + "/key.pem", "status --context " + dir + "/key.pem",
	} {
		stdout, stderr, _ := runs(t, strings.Fields(line)...)
		shown.WriteString(stdout + stderr)
	}
	for _, path := range []string{filepath.Join(dir, "key.pem"), own, alice} {
		for _, secret := range keyLines(t, path) {
			if strings.Contains(shown.String(), secret) {
				t.Errorf("a line of the key in %s was printed", path)
			}
		}
	}
}

// keyLines returns the base64 lines of the private key in a file.
func keyLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	fatal(t, err)
	_, after, ok := strings.Cut(string(data), "BEGIN PRIVATE KEY-----")
	body, _, end := strings.Cut(after, "-----END")
	if !ok || !end {
		t.Fatalf("%s holds no key", path)
	}
	return strings.Fields(body)
}

// Every command explains itself, with an example, and every flag says what it does.
func TestHelpIsComplete(t *testing.T) {
	root := newRootCommand(&app{now: time.Now})
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() == "exit-codes" {
			return
		}
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: no description or no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.Contains(line, "handfast") {
				t.Errorf("%s: example %q does not show the command", cmd.CommandPath(), line)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s: no description", cmd.CommandPath(), f.Name)
			}
		})
		for _, child := range cmd.Commands() {
			walk(child)
		}
		stdout, _, code := runs(t, append(strings.Fields(cmd.CommandPath())[1:], "--help")...)
		if code != fault.OK || !strings.Contains(stdout, "Examples:") {
			t.Errorf("%s --help: code %d, %q", cmd.CommandPath(), code, stdout)
		}
	}
	walk(root)
}

// Invariant 24: renewal changes certificate and key together, whatever fails.
func TestAFailedRenewalKeepsAMatchingPair(t *testing.T) {
	ca := newFakeCA(t)
	t.Cleanup(ca.close)
	contextAt(t, ca, "admin")
	dir := filepath.Join(t.TempDir(), "tls")
	if _, stderr, code := runs(t, "issue", "gateway", "--out", dir); code != fault.OK {
		t.Fatal(stderr)
	}
	before, err := creddir.Read(dir)
	fatal(t, err)
	ca.close() // from here on nobody answers
	if _, _, code := runs(t, "renew", "--dir", dir); code != fault.Unreachable {
		t.Fatalf("exit code %d; want %d", code, fault.Unreachable)
	}
	after, err := creddir.Read(dir)
	fatal(t, err)
	if !bytes.Equal(before.Cert, after.Cert) || !bytes.Equal(before.Key, after.Key) {
		t.Fatal("a failed renewal changed the files")
	}
	if _, err := readCredential(dir); err != nil {
		t.Fatal(err)
	}
}

// Invariant 28, seen from the client: an answer for another identity is not accepted.
func TestRenewalRefusesAnotherIdentity(t *testing.T) {
	ca := newFakeCA(t)
	t.Cleanup(ca.close)
	contextAt(t, ca, "admin")
	dir := filepath.Join(t.TempDir(), "tls")
	if _, stderr, code := runs(t, "issue", "gateway", "--out", dir); code != fault.OK {
		t.Fatal(stderr)
	}
	before, err := creddir.Read(dir)
	fatal(t, err)
	ca.mu.Lock()
	ca.renewAs = "shop"
	ca.mu.Unlock()
	_, stderr, code := runs(t, "renew", "--dir", dir)
	if code != fault.Failure || !strings.Contains(stderr, "certificate of spiffe://example.org/shop, not of spiffe://example.org/gateway") {
		t.Fatalf("code %d, %s", code, stderr)
	}
	after, err := creddir.Read(dir)
	fatal(t, err)
	if !bytes.Equal(before.Cert, after.Cert) {
		t.Fatal("the foreign certificate was written")
	}
}

func TestRunEndsWhenInterrupted(t *testing.T) {
	ca := newFakeCA(t)
	t.Cleanup(ca.close)
	contextAt(t, ca, "admin")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	err := run(ctx, []string{"status"}, strings.NewReader(""), &out, &errs)
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Fatalf("err = %v", err)
	}
	var own *fault.Error
	if !errors.As(err, &own) || own.Code != fault.Failure {
		t.Fatalf("code of %v", err)
	}
}

// What `inspect` reads is bounded, through the command itself as well.
func TestInspectRefusesAHugeFile(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"inspect", "--offline", "-"}, bytes.NewReader(make([]byte, pemfile.MaxSize+1)), &out, &out)
	if err == nil || !strings.Contains(err.Error(), "over 16 MiB") {
		t.Fatalf("err = %v", err)
	}
}
