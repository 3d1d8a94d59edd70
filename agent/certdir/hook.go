package certdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Limits of a hook.
const (
	DefaultHookTimeout = 30 * time.Second
	maxHookOutput      = 4 << 10 // bytes that are logged
	maxPIDFile         = 64      // bytes
)

// Hook tells a program to read its files again: a command, or a signal to the process
// whose id stands in a file. The zero value does nothing.
type Hook struct {
	// Command is a program and its arguments. No shell is involved.
	Command []string
	// PIDFile holds a process id; that process gets Signal.
	PIDFile string
	// Signal is HUP (""), USR1, USR2 or TERM.
	Signal string
	// Timeout bounds Command; 0 is the default.
	Timeout time.Duration
}

// signals are what programs take as "read your files again".
var signals = map[string]syscall.Signal{
	"": syscall.SIGHUP, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "TERM": syscall.SIGTERM,
}

func (h Hook) check() error {
	if len(h.Command) > 0 && h.PIDFile != "" {
		return errors.New("a reload command and a pid file are given: choose one")
	}
	if len(h.Command) > 0 && h.Command[0] == "" {
		return errors.New("the reload command is empty")
	}
	if _, ok := signals[h.Signal]; !ok {
		return fmt.Errorf("reload signal %q: use HUP, USR1, USR2 or TERM", h.Signal)
	}
	if h.Timeout < 0 {
		return errors.New("the reload timeout is negative")
	}
	return nil
}

func (h Hook) none() bool { return len(h.Command) == 0 && h.PIDFile == "" }

// reload runs the hook and counts how that went.
func (w *Writer) reload(ctx context.Context) error {
	hook := w.cfg.Reload
	if hook.none() {
		return nil
	}
	err := w.runHook(ctx, hook)
	if err != nil {
		w.metrics.reloads.WithLabelValues("failed").Inc()
		return fmt.Errorf("reload: %w", err)
	}
	w.metrics.reloads.WithLabelValues("ok").Inc()
	return nil
}

func (w *Writer) runHook(ctx context.Context, hook Hook) error {
	if hook.PIDFile != "" {
		return signalPID(hook.PIDFile, signals[hook.Signal])
	}
	timeout := hook.Timeout
	if timeout == 0 {
		timeout = DefaultHookTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	command := exec.CommandContext(ctx, hook.Command[0], hook.Command[1:]...) //nolint:gosec // the operator's own command
	command.Env = environment(w.cfg.Dir)
	command.WaitDelay = time.Second // a grandchild that keeps the output open does not keep us
	output := &limitedBuffer{}
	command.Stdout, command.Stderr = output, output
	err := command.Run()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("it did not end within %v and was killed", timeout)
	}
	text := strings.TrimSpace(output.String())
	if err != nil {
		return fmt.Errorf("command %s: %w; its output: %q", hook.Command[0], err, text)
	}
	w.cfg.Logger.Info("reload command succeeded", "command", hook.Command[0], "output", text)
	return nil
}

// environment is the agent's without its secret: a token must not reach another program.
func environment(dir string) []string {
	var kept []string
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); !strings.HasPrefix(name, "HANDFAST_TOKEN") {
			kept = append(kept, entry)
		}
	}
	return append(kept, "HANDFAST_FILES="+dir)
}

// signalPID sends the signal to the process in the file.
func signalPID(path string, signal syscall.Signal) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	if len(data) > maxPIDFile {
		return fmt.Errorf("pid file %s: over %d bytes", path, maxPIDFile)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("pid file %s: it holds no process id", path) // 0, 1 and negative ones would hit others
	}
	if err := syscall.Kill(pid, signal); err != nil {
		return fmt.Errorf("signal %v to process %d (from %s): %w", signal, pid, path, err)
	}
	return nil
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxHookOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// metrics are the files'.
type metrics struct {
	writes, reloads *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_certdir_writes_total", Help: "Generations of certificate files written, by result (ok, failed).",
		}, []string{"result"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_certdir_reloads_total", Help: "Runs of the reload hook, by result (ok, failed).",
		}, []string{"result"}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{m.writes, m.reloads} {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}
