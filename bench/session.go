package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/internal/harness"
)

// session is one run of the program.
type session struct {
	dir     string // everything that the run writes; removed at its end
	repo    string
	base    string   // where the programs of before a change are, or ""
	peers   []string // the proxies to measure beside ours; nil: all that are there
	rounds  int
	clients int
	scale   float64
	log     io.Writer // progress, for people

	now      string // the benchmark that runs
	started  []*harness.Process
	cleanup  []func() // what clients hold, released before the servers are told to end
	figures  []report.Figure
	pictures []picture
}

// picture is one that is not drawn from a figure.
type picture struct{ name, svg string }

func (s *session) printf(format string, args ...any) {
	fmt.Fprintf(s.log, format+"\n", args...) //nolint:errcheck // progress only
}

// wants reports whether a peer is to be measured.
func (s *session) wants(peer string) bool { return s.peers == nil || slices.Contains(s.peers, peer) }

func (s *session) bin() string                { return filepath.Join(s.dir, "bin") }
func (s *session) program(name string) string { return filepath.Join(s.bin(), name) }
func (s *session) units(usual int) int        { return max(int(float64(usual)*s.scale), s.clients) }
func (s *session) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir, s.now}, parts...)...)
}

// build makes our binaries as `make build` does, and the peers.
func (s *session) build(ctx context.Context) error {
	s.printf("building")
	for _, b := range []struct{ dir, packages string }{
		{s.repo, "./cmd/handfast-ca ./cmd/handfast-agent"},
		{filepath.Join(s.repo, "bench"), "./bare ./stepca ./cfssl ./cfsslsign ./fasthttp ./crlmake ./profiled"},
	} {
		command := exec.CommandContext(ctx, "sh", "-c", `go build -trimpath -ldflags "-s -w" -o "$0" `+b.packages, s.bin()+"/")
		command.Dir, command.Stderr = b.dir, s.log
		if err := command.Run(); err != nil {
			return fmt.Errorf("build %s: %w", b.packages, err)
		}
	}
	return nil
}

// measure runs one benchmark in a directory of its own and ends what it started.
func (s *session) measure(ctx context.Context, b benchmark) error {
	s.now = b.name
	if err := os.MkdirAll(s.path(), 0o700); err != nil {
		return err
	}
	s.printf("%s", b.name)
	return errors.Join(b.run(s, ctx), s.end())
}

// start runs a program until the end of the benchmark; it is ready when it has printed sign.
func (s *session) start(ctx context.Context, env []string, sign string, argv ...string) (*harness.Process, error) {
	process, err := harness.Start(filepath.Base(argv[0]), env, argv...)
	if err != nil {
		return nil, err
	}
	s.started = append(s.started, process)
	if sign != "" {
		_, err = process.WaitLog(ctx, 0, sign)
	}
	return process, err
}

// bare starts a bare program on a free port.
func (s *session) bare(ctx context.Context, mode, target, tlsDir string) (*harness.Process, string, error) {
	address, err := harness.FreeAddress()
	if err != nil {
		return nil, "", err
	}
	process, err := s.start(ctx, []string{"BENCH_TLS=" + tlsDir}, "ready", s.program("bare"), mode, address, target)
	return process, address, err
}

// end stops what the benchmark started.
func (s *session) end() error {
	for _, release := range s.cleanup {
		release()
	}
	s.cleanup = nil
	return s.endServers()
}

// endServers stops programs only. Peers may die of SIGTERM: only ours must end well.
func (s *session) endServers() error {
	var failed error
	for _, process := range s.started {
		err := process.Stop()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signaled() {
			err = nil
		}
		failed = errors.Join(failed, err)
	}
	s.started = nil
	return failed
}

// waitHTTP waits until url answers with 200.
func waitHTTP(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close() // only its status matters
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %s", response.Status)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", url, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// waitTCP waits until a program accepts connections.
func waitTCP(ctx context.Context, process *harness.Process, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-process.Done():
			return fmt.Errorf("%s ended: %w; its output:\n%s", process.Name, process.Wait(), process.Log())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %w; its output:\n%s", process.Name, err, process.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
