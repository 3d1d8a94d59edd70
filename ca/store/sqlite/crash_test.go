package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/ca/store/storetest"
	"github.com/handfast/handfast/certs"
)

// acknowledged is what victims said.
type acknowledged struct {
	issued  map[string]int64 // token by serial
	revoked map[string]bool
	last    int64 // token
}

// read takes whole lines only: a line that was cut off was not received.
func (a *acknowledged) read(t *testing.T, from io.Reader, enough func()) {
	t.Helper()
	lines := bufio.NewReader(from)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		var what, serial string
		var token int64
		if _, err := fmt.Sscanf(line, "%s %s %d", &what, &serial, &token); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		if what == "revoked" {
			a.revoked[serial] = true
			continue
		}
		a.issued[serial], a.last = token, max(a.last, token)
		if n > 100 {
			enough()
		}
	}
}

// TestInvariants1And6And10SurviveKill9UnderLoad kills a process that issues and revokes at full speed,
// again and again, at no special moment. What it had acknowledged is in the ledger: nothing
// lost, no serial and no token twice, and what was revoked is revoked.
func TestInvariants1And6And10SurviveKill9UnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	said := acknowledged{issued: map[string]int64{}, revoked: map[string]bool{}}
	for range 6 {
		cmd := victim(t, "load", path, max(0, said.last-20))
		out, err := cmd.StdoutPipe()
		must(t, err)
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		guard := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
		said.read(t, out, func() { _ = cmd.Process.Kill() }) // SIGKILL
		guard.Stop()
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
			t.Fatalf("the victim ended by itself: %v", err)
		}
		said.check(t, path)
	}
	if len(said.issued) < 300 || len(said.revoked) < 20 {
		t.Errorf("%d issued and %d revoked: too few to show anything", len(said.issued), len(said.revoked))
	}
	t.Logf("%d acknowledged issuances, %d acknowledged revocations, 6 kills", len(said.issued), len(said.revoked))
}

func (a *acknowledged) check(t *testing.T, path string) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	must(t, err)
	defer func() { must(t, store.Close()) }()
	tokens, serials := map[string]bool{}, map[string]ca.Certificate{}
	for cursor, more := "", true; more; more = cursor != "" {
		var page []ca.Certificate
		page, cursor, err = store.Certificates(t.Context(), ca.CertificateQuery{Limit: 1000, Cursor: cursor})
		must(t, err)
		for _, c := range page {
			if tokens[c.By] {
				t.Errorf("%s was used twice", c.By)
			}
			if _, twice := serials[c.Serial.String()]; twice {
				t.Errorf("serial %s is there twice", c.Serial)
			}
			tokens[c.By], serials[c.Serial.String()] = true, c
		}
	}
	entries, err := store.Entries(t.Context(), 0, 100_000)
	must(t, err)
	logged := map[string]bool{}
	for _, e := range entries {
		logged[e.Serial.String()] = true
	}
	for serial, token := range a.issued {
		if c, ok := serials[serial]; !ok || c.By != fmt.Sprintf("token-%d", token) {
			t.Errorf("serial %s was acknowledged, and the ledger does not know it", serial)
		}
	}
	for serial := range a.revoked {
		if serials[serial].Revocation == nil || !logged[serial] {
			t.Errorf("serial %s was acknowledged as revoked, and it is not", serial)
		}
	}
}

func strace(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: the order of system calls is not looked at")
	}
	if out, err := exec.CommandContext(t.Context(), path, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here (%v): %s", err, out)
	}
	return path
}

// TestInvariant01DurableBeforeItLeaves sees by strace that between the last write to the
// write-ahead log and each acknowledgement there is a successful fsync of that log.
func TestInvariant01DurableBeforeItLeaves(t *testing.T) {
	tool, dir := strace(t), t.TempDir()
	path, trace := filepath.Join(dir, "ledger.db"), filepath.Join(dir, "trace")
	must(t, sqlite.Create(t.Context(), path))
	cmd := victim(t, "sequence", path, 0, tool, "-f", "-y", "-o", trace, "-e", "trace=write,pwrite64,fsync,fdatasync")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(trace)
	must(t, err)
	dirty, synced, acknowledgements := false, false, 0
	syncing := map[string]bool{} // threads whose fsync of the log has begun and not ended
	for line := range strings.Lines(string(text)) {
		thread, _, _ := strings.Cut(line, " ")
		onLog, done := strings.Contains(line, "ledger.db-wal>"), strings.HasSuffix(line, "= 0\n")
		switch {
		case onLog && strings.Contains(line, "pwrite64("):
			dirty, synced = true, false
		case onLog && strings.Contains(line, "sync(") && strings.Contains(line, "unfinished"):
			syncing[thread] = true
		case onLog && strings.Contains(line, "sync(") && done, syncing[thread] && strings.Contains(line, "sync resumed") && done:
			dirty, synced, syncing[thread] = false, true, false
		case strings.Contains(line, `"issued `):
			acknowledgements++
			if dirty || !synced {
				t.Errorf("acknowledged before the log was on the disk: %s", line)
			}
			synced = false
		}
	}
	if acknowledgements != 10 {
		t.Errorf("%d acknowledgements in the trace, want 10:\n%s", acknowledgements, out)
	}
}

// TestInvariant21AnIOErrorIssuesNothing makes the fsync of the log fail once: that
// issuance fails, and so does every one after it, because nobody knows what the disk holds. A
// process that opens the ledger anew goes on with what was acknowledged.
func TestInvariant21AnIOErrorIssuesNothing(t *testing.T) {
	tool, dir := strace(t), t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	must(t, open(t, path).Probe(t.Context())) // holds the -wal open, so that its path is there to be named
	cmd := victim(t, "sequence", path, 0, tool, "-f", "-o", os.DevNull, "-P", path+"-wal",
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=4")
	cmd.Env = append(cmd.Env, "GOMAXPROCS=1") // strace counts for each thread: one is to come to four
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var issued, failed []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "issued "):
			issued = append(issued, fields[1])
			if len(failed) > 0 {
				t.Error("something was issued after the state became unknown")
			}
		case strings.HasPrefix(line, "failed ") && strings.Contains(line, "restart the CA"):
			failed = append(failed, fields[1])
		}
	}
	if len(issued) == 0 || len(failed) == 0 || len(issued)+len(failed) != 10 {
		t.Fatalf("%d issued, %d failed; want some of each:\n%s", len(issued), len(failed), out)
	}
	store := open(t, path)
	for _, text := range issued {
		serial, err := certs.ParseSerial(text)
		must(t, err)
		if _, err := store.Certificate(t.Context(), serial); err != nil {
			t.Errorf("acknowledged %s: %v", text, err)
		}
	}
	must(t, store.Probe(t.Context()))
}

// TestInvariant21ENOSPC fills a small file system.
func TestInvariant21ENOSPC(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount the small file system that this fills")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("a small file system cannot be mounted here (%v): %s", err, out)
	}
	t.Cleanup(func() { must(t, exec.CommandContext(context.Background(), "umount", dir).Run()) })
	path := filepath.Join(dir, "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	store := open(t, path)
	var recorded []ca.Certificate
	var err error
	for range 2000 {
		c := storetest.Certificate("a")
		if _, _, err = store.RecordIssuance(t.Context(), ca.Issuance{Certificate: c}); err != nil {
			break
		}
		recorded = append(recorded, c)
	}
	if err == nil || errors.Is(err, ca.ErrNotFound) || errors.Is(err, ca.ErrConflict) {
		t.Fatalf("full: %v, want a fault", err)
	}
	if err := store.Probe(t.Context()); err == nil {
		t.Error("the probe says that a full disk can be written")
	}
	for _, c := range recorded {
		if _, err := store.Certificate(t.Context(), c.Serial); err != nil {
			t.Fatalf("acknowledged %s: %v", c.Serial, err)
		}
	}
}
