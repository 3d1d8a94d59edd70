// Package harness runs the real binaries for the demo and the end-to-end tests: it
// starts processes, reads what they log, and ends them in the ways that matter.
package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a running program whose output is kept.
type Process struct {
	Name string

	cmd  *exec.Cmd
	done chan struct{} // closed after Wait returned and the output was read
	err  error         // of Wait; valid after done

	mu    sync.Mutex
	lines []string      // guarded by mu
	few   bool          // guarded by mu; see KeepFew
	grown chan struct{} // guarded by mu; closed and replaced at each line
}

// Start runs a program in the background. env is added to an otherwise empty
// environment, so that nothing of the caller's leaks in.
func Start(name string, env []string, argv ...string) (*Process, error) {
	p := &Process{Name: name, done: make(chan struct{}), grown: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	read, write := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = write, write
	// A process that outlives its starter would hold its ports.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	scanned, started := make(chan struct{}), make(chan error)
	go p.scan(read, scanned)
	go func() {
		// The signal comes when the thread ends that started the process (prctl(2), PR_SET_PDEATHSIG),
		// so that thread is kept until the process has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			err = p.cmd.Wait()
		}
		_ = write.Close() // never fails
		<-scanned
		p.err = err
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *Process) scan(r io.Reader, scanned chan<- struct{}) {
	defer close(scanned)
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		p.mu.Lock()
		if p.few && len(p.lines) >= fewLines {
			p.lines = append(p.lines[:0], p.lines[1:]...)
		}
		p.lines = append(p.lines, scanner.Text())
		close(p.grown)
		p.grown = make(chan struct{})
		p.mu.Unlock()
	}
}

// fewLines are enough to say why a process ended.
const fewLines = 32

// KeepFew has the process's output forgotten but for its last lines from now on: for one that
// prints a million. Lines and WaitLog count from the first line, so they are of no use after it.
func (p *Process) KeepFew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.few, p.lines = true, p.lines[max(0, len(p.lines)-fewLines):]
}

// Log returns everything that the process has printed so far.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// WaitLog returns the first line, at or after the line numbered from, that holds every
// one of parts.
func (p *Process) WaitLog(ctx context.Context, from int, parts ...string) (string, error) {
	for {
		p.mu.Lock()
		for ; from < len(p.lines); from++ {
			if containsAll(p.lines[from], parts) {
				line := p.lines[from]
				p.mu.Unlock()
				return line, nil
			}
		}
		grown := p.grown
		p.mu.Unlock()
		select {
		case <-grown:
		case <-p.done:
			return "", fmt.Errorf("%s ended without logging %q: %w; its output:\n%s", p.Name, parts, p.ended(), p.Log())
		case <-ctx.Done():
			return "", fmt.Errorf("%s did not log %q: %w; its output:\n%s", p.Name, parts, ctx.Err(), p.Log())
		}
	}
}

var errEndedWell = errors.New("exit status 0")

// ended is why the process is gone. It is called after done.
func (p *Process) ended() error {
	if p.err == nil {
		return errEndedWell
	}
	return p.err
}

// Lines returns how many lines the process has printed: a mark for WaitLog.
func (p *Process) Lines() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end and returns the exit's error, as exec.Cmd.Wait does.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// patience is how long a process may take to end: longer than any that is healthy, on a busy machine as well.
const patience = time.Minute

// Stop asks the process to end with SIGTERM, waits at most a minute, and fails when it had
// to be killed or did not exit with 0. A process that has ended already is no error.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s: %w after SIGTERM; its output:\n%s", p.Name, p.err, p.Log())
		}
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s did not end within %v of SIGTERM", p.Name, patience), p.Kill())
	}
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	<-p.done
	return err
}

func containsAll(line string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(line, part) {
			return false
		}
	}
	return true
}
