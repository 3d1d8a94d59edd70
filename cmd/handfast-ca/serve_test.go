package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/issuer/keystore"
)

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

// Init costs what stretching a passphrase for three keys does, which is slow by design and less than a second here, and
// little more. Measured is the processor's time and not the clock's, because the machine may have other things
// to do, and beside the stretching alone, because processors differ; nothing else runs in this process now.
func TestInitIsQuick(t *testing.T) {
	dir := home.Dir(filepath.Join(t.TempDir(), "ca"))
	args := []string{"init", "--dir", string(dir), "--trust-domain", "prod.example.org"}
	before := cpuTime(t)
	if err := run(t.Context(), args, nil, discard{}, discard{}); err != nil {
		t.Fatal(err)
	}
	took := cpuTime(t) - before
	passphrase, err := keystore.PassphraseSource{File: dir.Passphrase()}.Read()
	if err != nil {
		t.Fatal(err)
	}
	before = cpuTime(t)
	for range 3 {
		if _, err := keystore.OpenSecret(dir.TokenKey(), passphrase); err != nil {
			t.Fatal(err)
		}
	}
	if stretching := cpuTime(t) - before; took > 4*stretching {
		t.Errorf("init took %v of processor time, stretching three passphrases %v", took, stretching)
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
