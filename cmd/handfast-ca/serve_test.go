package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/internal/harness"
	"github.com/handfast/handfast/issuer/keystore"
	"github.com/handfast/handfast/issuer/keystore/keystoretest"
)

func listen(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// logged is a log that a test waits for.
type logged struct {
	mu    sync.Mutex
	text  strings.Builder
	ready chan struct{}
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Contains(p, []byte("ready")) && l.ready != nil {
		close(l.ready)
		l.ready = nil
	}
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// running is a daemon in this process.
type running struct {
	ca   *harness.CA
	log  *logged
	stop func() error
}

// made is a CA that is made once, because its passphrase costs time by design. Tests get
// copies, whose keys open quickly.
var made = sync.OnceValues(func() (*harness.CA, error) {
	parent, err := os.MkdirTemp("", "handfast-ca-test-")
	if err != nil {
		return nil, err
	}
	ca := &harness.CA{Dir: filepath.Join(parent, "ca"), API: "127.0.0.1:9000", Public: "127.0.0.1:9001"}
	if err := run(context.Background(), []string{"init", "--dir", ca.Dir, "--trust-domain", "prod.example.org"}, nil, discard{}, discard{}); err != nil {
		return ca, err
	}
	dir := home.Dir(ca.Dir)
	passphrase, err := keystore.PassphraseSource{File: dir.Passphrase()}.Read()
	if err != nil {
		return ca, err
	}
	return ca, errors.Join(keystoretest.QuickenKey(dir.IssuingKey(), passphrase),
		keystoretest.QuickenKey(dir.RootKey(), passphrase), keystoretest.QuickenSecret(dir.TokenKey(), passphrase))
})

// newCAIn puts a CA of its own, on free addresses, into dir.
func newCAIn(dir string) (*harness.CA, error) {
	original, err := made()
	if err != nil {
		return nil, err
	}
	ca := &harness.CA{Dir: dir}
	var replace []string
	for _, address := range []struct {
		own *string
		was string
	}{{&ca.API, original.API}, {&ca.Public, original.Public}} {
		if *address.own, err = harness.FreeAddress(); err != nil {
			return nil, err
		}
		replace = append(replace, address.was, *address.own)
	}
	replacer := strings.NewReplacer(replace...)
	return ca, filepath.WalkDir(original.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(original.Dir, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(dir, relative), 0o700)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if filepath.Ext(path) == ".yaml" {
			content = []byte(replacer.Replace(string(content)))
		}
		return os.WriteFile(filepath.Join(dir, relative), content, 0o600)
	})
}

func copyCA(t *testing.T) *harness.CA {
	t.Helper()
	ca, err := newCAIn(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func serve(t *testing.T, ca *harness.CA) *running {
	t.Helper()
	log := &logged{ready: make(chan struct{})}
	ready := log.ready
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--dir", ca.Dir, "--log-level", "debug"}, nil, discard{}, log)
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("serve ended: %v\n%s", err, log)
	}
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { stop() }) //nolint:errcheck // a test that cares has asked before
	return &running{ca: ca, log: log, stop: stop}
}

func (r *running) operator(t *testing.T) *api.Client {
	t.Helper()
	client, err := r.ca.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// enrol registers a service, mints a token and enrols with it.
func (r *running) enrol(t *testing.T, service string) (token string, issued *api.Issued) {
	t.Helper()
	operator := r.operator(t)
	if _, err := operator.PutService(t.Context(), &api.Service{Name: service}, 0); err != nil {
		t.Fatal(err)
	}
	minted, err := operator.CreateToken(t.Context(), &api.TokenRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	issued, err = r.spend(t, minted.Token)
	if err != nil {
		t.Fatal(err)
	}
	return minted.Token, issued
}

func (r *running) spend(t *testing.T, token string) (*api.Issued, error) {
	t.Helper()
	client, err := r.ca.Anonymous()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, csr, err := newRequest()
	if err != nil {
		t.Fatal(err)
	}
	return client.Enroll(t.Context(), &api.EnrollRequest{Token: token, CSR: csr}, "")
}

// Invariant 19: the daemon runs, issues and revokes without the root's key.
func TestInvariant19DaemonRunsWithoutTheRootKey(t *testing.T) {
	t.Parallel()
	ca := copyCA(t)
	if err := os.Rename(filepath.Join(ca.Dir, "root"), filepath.Join(t.TempDir(), "safe")); err != nil {
		t.Fatal(err)
	}
	daemon := serve(t, ca)
	_, issued := daemon.enrol(t, "web")
	if len(issued.Chain) != 2 {
		t.Errorf("chain of %d certificates; want leaf and issuing certificate", len(issued.Chain))
	}
	if _, err := daemon.operator(t).Revoke(t.Context(), &api.RevokeRequest{Service: "web"}); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if err := daemon.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if !strings.Contains(daemon.log.String(), "stopped") {
		t.Error("the log does not tell of the orderly end")
	}
}

// Invariants 16 and 17 across a restart: a used token stays used.
func TestInvariant16UsedTokenStaysUsedAfterARestart(t *testing.T) {
	t.Parallel()
	ca := copyCA(t)
	daemon := serve(t, ca)
	token, _ := daemon.enrol(t, "web")
	var refusal *api.Error
	if _, err := daemon.spend(t, token); !errors.As(err, &refusal) || refusal.Code != api.CodeTokenUsed {
		t.Errorf("second use: %v; want %s", err, api.CodeTokenUsed)
	}
	if err := daemon.stop(); err != nil {
		t.Fatal(err)
	}
	daemon = serve(t, ca)
	if _, err := daemon.spend(t, token); !errors.As(err, &refusal) || refusal.Code != api.CodeTokenUsed {
		t.Errorf("use after the restart: %v; want %s", err, api.CodeTokenUsed)
	}
}

// Invariant 18: passphrase, keys and tokens are in no log and no error, at any level.
func TestInvariant18LogsShowNoSecret(t *testing.T) {
	t.Parallel()
	ca := copyCA(t)
	content, err := os.ReadFile(home.Dir(ca.Dir).Passphrase())
	if err != nil {
		t.Fatal(err)
	}
	passphrase := strings.TrimSpace(string(content))
	daemon := serve(t, ca)
	token, _ := daemon.enrol(t, "web")
	_, usedErr := daemon.spend(t, token)
	_, forgedErr := daemon.spend(t, token[:len(token)-6]+"AAAAAA")
	if err := daemon.stop(); err != nil {
		t.Fatal(err)
	}
	dir := home.Dir(ca.Dir)
	tokenKey, err := keystore.OpenSecret(dir.TokenKey(), []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"passphrase": passphrase, "token": token, "token's MAC": token[strings.LastIndexByte(token, '.')+1:],
		"token key": hex.EncodeToString(tokenKey), "a private key": "PRIVATE KEY",
	}
	everything := daemon.log.String() + usedErr.Error() + forgedErr.Error()
	ledger, err := os.ReadFile(dir.Ledger())
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(dir.Ledger() + "-wal")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for what, secret := range secrets {
		if strings.Contains(everything, secret) {
			t.Errorf("%s is in the log or in an error", what)
		}
		if bytes.Contains(ledger, []byte(secret)) || bytes.Contains(wal, []byte(secret)) {
			t.Errorf("%s is in the ledger", what)
		}
	}
	if bytes.Contains(ledger, tokenKey) || strings.Contains(everything, string(tokenKey)) {
		t.Error("the token key's bytes are in the ledger or the log")
	}
}

// What is done beside a running daemon: recover an operator, back up, renew the root's CRL.
func TestMaintenanceBesideTheDaemon(t *testing.T) {
	t.Parallel()
	ca := copyCA(t)
	daemon := serve(t, ca)
	daemon.enrol(t, "web")
	out := filepath.Join(t.TempDir(), "alice.yaml")
	copied := filepath.Join(t.TempDir(), "copy.db")
	for _, args := range [][]string{
		{"operator", "--dir", ca.Dir, "--name", "alice", "--out", out},
		{"backup", "--dir", ca.Dir, "--to", copied},
		{"root-crl", "--dir", ca.Dir, "--root-key", home.Dir(ca.Dir).RootKey()},
		{"check", "--dir", ca.Dir},
	} {
		if err := run(t.Context(), args, nil, discard{}, discard{}); err != nil {
			t.Errorf("%s: %v", args[0], err)
		}
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("backup: %v, %v; want mode 0600", info, err)
	}
	if err := os.Rename(out, ca.Context()); err != nil { // alice is the operator now
		t.Fatal(err)
	}
	status, err := daemon.operator(t).Status(t.Context())
	if err != nil || status.Role != "admin" || !strings.HasSuffix(status.You, "/alice") {
		t.Errorf("status as alice: %+v, %v", status, err)
	}
}

// Init finishes within a second. Measured is the processor's time and not the clock's,
// because the machine may have other things to do; nothing else runs in this process now.
func TestInitIsQuick(t *testing.T) {
	before := cpuTime(t)
	args := []string{"init", "--dir", filepath.Join(t.TempDir(), "ca"), "--trust-domain", "prod.example.org"}
	if err := run(t.Context(), args, nil, discard{}, discard{}); err != nil {
		t.Fatal(err)
	}
	if took := cpuTime(t) - before; took > cpuFactor*1500*time.Millisecond {
		t.Errorf("init took %v of processor time", took)
	}
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestStoppedWhileStarting(t *testing.T) {
	t.Parallel()
	ca := copyCA(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, []string{"serve", "--dir", ca.Dir}, nil, discard{}, discard{}); err != nil {
		t.Errorf("serve that was told to stop at once: %v; want an orderly end", err)
	}
}
