//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/internal/harness"
	"github.com/handfast/handfast/internal/socketdir"
)

// The CA dies by SIGKILL when it is about to sync the revocation's commit: the record is
// written, nobody was told, the operator's command fails. After the restart the revocation
// arrives at the agents by itself, and the open connection is cut.
func TestRevocationArrivesAfterTheCAWasKilledBeforeThePush(t *testing.T) {
	t.Parallel()
	need(t, "strace")
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "web")
	handfast(ctx, t, ca, "service", "add", "orders", "--callers", "web")
	dir := t.TempDir()
	sockets := socketdir.New(t)
	target, door, inbound := filepath.Join(sockets, "echo.sock"), filepath.Join(sockets, "door.sock"), freeAddress(t)
	echo(t, target)
	orders := startAgent(ctx, t, ca, "orders", dir, "--inbound", inbound+"=unix:"+target)
	startAgent(ctx, t, ca, "web", dir, "--outbound", "unix:"+door+"=orders@"+inbound)
	conn := talk(ctx, t, door)

	from := orders.Lines()
	for attempt := 1; !killWhileRevoking(ctx, t, ca, "web"); attempt++ {
		if attempt == 5 {
			t.Fatal("the CA never died with the revocation in its ledger")
		}
		if err := ping(conn); err != nil {
			t.Fatalf("nothing is revoked, but the connection has ended: %v", err)
		}
	}
	awaitEnd(t, conn, door)
	if _, err := orders.WaitLog(ctx, from, "what is revoked has changed"); err != nil {
		t.Error(err)
	}
}

// killWhileRevoking reports whether the revocation is in the ledger of the CA that it leaves running.
// Another write may have come first, and died in its place.
func killWhileRevoking(ctx context.Context, t *testing.T, ca *harness.CA, service string) bool {
	t.Helper()
	tracer, err := harness.Start("strace", nil, "strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:signal=SIGKILL",
		"-o", filepath.Join(t.TempDir(), "trace"), "-p", fmt.Sprint(ca.Process.PID()))
	if err != nil {
		t.Fatal(err)
	}
	awaitTraced(t, tracer, ca.Process.PID())
	asking, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		_, err := ca.Handfast(asking, "revoke", "--service", service, "--reason", "keyCompromise", "--yes")
		ended <- err
	}()
	select {
	case <-ca.Process.Done():
		stop() // it would ask again until its time is up
		err = <-ended
	case err = <-ended:
	}
	if err == nil {
		t.Fatal("the CA answered, and did not die")
	}
	select {
	case <-ca.Process.Done():
	case <-ctx.Done():
		t.Fatalf("the CA neither answered nor died:\n%s", ca.Process.Log())
	}
	_ = tracer.Wait() // it ends with what it traces
	serve(ctx, t, ca)
	listed := handfast(ctx, t, ca, "list", "--service", service, "--status", "revoked", "-o", "json")
	return strings.Contains(listed, `"status": "revoked"`)
}

// awaitTraced waits until every thread of a process is traced, and skips the test where that may not be.
func awaitTraced(t *testing.T, tracer *harness.Process, pid int) {
	t.Helper()
	for deadline := time.Now().Add(stepLimit); untraced(pid); time.Sleep(10 * time.Millisecond) {
		select {
		case <-tracer.Done():
			t.Skipf("the daemon cannot be traced here: %s", tracer.Log())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("strace does not trace every thread: %s", tracer.Log())
		}
	}
}

func untraced(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid)) // the pattern is well-formed
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err == nil && strings.Contains(string(status), "TracerPid:\t0\n") {
			return true
		}
	}
	return len(threads) == 0
}
