package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/handfast/handfast/internal/logtest"
	"github.com/handfast/handfast/internal/socketdir"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"handfast-agent": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command sleeps for a second under the race detector
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// occupied VAR sets VAR to an address on which something listens until the script ends.
			"occupied": func(ts *testscript.TestScript, _ bool, args []string) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				ts.Defer(func() { listener.Close() })
				ts.Setenv(args[0], listener.Addr().String())
			},
		},
	})
}

func TestWithoutATokenItWaitsSaysSoAndEndsCleanly(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var stderr logtest.Buffer
	done := make(chan error, 1)
	socket := filepath.Join(socketdir.New(t), "agent.sock")
	go func() {
		done <- run(ctx, []string{
			"run", "--state", filepath.Join(t.TempDir(), "state"), "--token-file", "-", "--status", "127.0.0.1:0", "--socket", socket,
			"--inbound", "127.0.0.1:0=127.0.0.1:1", "--files", filepath.Join(t.TempDir(), "files"),
		}, strings.NewReader("\n"), io.Discard, &stderr)
	}()
	stderr.WaitFor(t, "waiting for an enrolment token")
	log := stderr.WaitFor(t, "msg=listening")
	if !strings.Contains(log, "handfast token NAME") {
		t.Errorf("the log does not say what to do:\n%s", log)
	}
	address := regexp.MustCompile(`msg="status is served" address=(\S+)`).FindStringSubmatch(log)
	if address == nil {
		t.Fatalf("no status address in the log:\n%s", log)
	}
	response, err := http.Get("http://" + address[1] + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("healthz is %d without a certificate; want 503", response.StatusCode)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// The agent stands beside every service, so its weight is multiplied: under 15 MB, as shipped.
func TestWeight(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	binary := filepath.Join(t.TempDir(), "handfast-agent")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if limit := int64(15_000_000); info.Size() >= limit {
		t.Errorf("the stripped program has %d bytes; want under %d", info.Size(), limit)
	}
}
