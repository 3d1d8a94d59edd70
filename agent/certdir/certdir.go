// Package certdir keeps the service's certificate in files, for programs that only read
// files, and tells them when to read again.
//
// All files of one state stand in a directory of their own, the generation. DIR/..current is a
// symbolic link to it, and DIR/cert.pem and its siblings are links through ..current. A new state
// is a new generation and one rename, so that certificate and key change together; a
// reader that must not mix two generations resolves ..current once and reads there, as
// certs.FileSource does. The generation before stays until the next change, for readers in the middle.
package certdir

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/agent/pace"
	"github.com/handfast/handfast/certs"
)

// Source is where the state comes from. *agent.Agent is one.
type Source interface {
	certs.Source
	// Changed returns a channel that is closed when there is another snapshot.
	Changed() <-chan struct{}
}

// Config is what a Writer needs.
type Config struct {
	Source Source
	// Dir is made when missing, with mode 0700, or 0750 with a Group. Its generations have that mode in any case.
	Dir string
	// KeyMode is the mode of key.pem; 0 is 0600, or 0640 with a Group. Nobody but owner and group may read it.
	KeyMode fs.FileMode
	// Group is the numeric id of the group that may read the files; nil leaves it alone.
	Group *int
	// Reload is what runs after each change; the zero value is nothing.
	Reload Hook

	// Jitter returns a number in [0,1) each time and spreads retries; nil is none.
	Jitter     func() float64
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Check refuses what cannot work, without touching anything.
func (c Config) Check() error {
	if c.KeyMode&^0o660 != 0 {
		return fmt.Errorf("certificate files: key mode %04o lets others than owner and group reach the private key: use 0600 or 0640", c.KeyMode)
	}
	if err := c.Reload.check(); err != nil {
		return fmt.Errorf("certificate files: %w", err)
	}
	return nil
}

// Writer follows a Source into a directory. Make it with New, start it with Run.
type Writer struct {
	cfg     Config
	metrics *metrics
}

// New checks the configuration and makes the directory.
func New(cfg Config) (*Writer, error) {
	if cfg.Source == nil || cfg.Dir == "" {
		return nil, errors.New("certificate files: a source and a directory are needed")
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Jitter == nil {
		cfg.Jitter = func() float64 { return 0 }
	}
	if cfg.KeyMode == 0 {
		cfg.KeyMode = 0o600
		if cfg.Group != nil {
			cfg.KeyMode = 0o640
		}
	}
	w := &Writer{cfg: cfg}
	err := w.makeDir()
	if err != nil {
		return nil, fmt.Errorf("certificate files: %w", err)
	}
	if w.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("certificate files: %w", err)
	}
	return w, nil
}

// makeDir makes the directory. One that is there already keeps its mode: others may
// have their files in it.
func (w *Writer) makeDir() error {
	if info, err := os.Stat(w.cfg.Dir); err == nil && info.IsDir() {
		return w.probe()
	}
	if err := os.MkdirAll(w.cfg.Dir, 0o700); err != nil {
		return err
	}
	return w.own(w.cfg.Dir, w.dirMode())
}

// probe shows at the start, and not at the first rotation, that nothing can be written.
func (w *Writer) probe() error {
	probe, err := os.MkdirTemp(w.cfg.Dir, "..probe-")
	if err != nil {
		return fmt.Errorf("the directory %s cannot be written to: %w", w.cfg.Dir, err)
	}
	return os.Remove(probe)
}

func (w *Writer) dirMode() fs.FileMode {
	if w.cfg.Group != nil {
		return 0o750
	}
	return 0o700
}

// own gives path its mode and, when one is configured, its group.
func (w *Writer) own(path string, mode fs.FileMode) error {
	if w.cfg.Group != nil {
		if err := os.Lchown(path, -1, *w.cfg.Group); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

// Run writes each state until ctx ends, and then returns nil. Failures are logged, counted and
// tried again; the last good files stay.
func (w *Writer) Run(ctx context.Context) error {
	retry := pace.Backoff{Jitter: w.cfg.Jitter}
	reload := false // the files changed and the program does not know yet
	for ctx.Err() == nil {
		changed := w.cfg.Source.Changed()
		wrote, err := w.sync()
		reload = reload || wrote
		if err == nil && reload {
			if err = w.reload(ctx); err == nil {
				reload = false
			}
		}
		if err == nil {
			retry.Reset()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if ctx.Err() != nil {
			break
		}
		wait := retry.Next(err, 0)
		w.cfg.Logger.Error("certificate files: it is tried again", "directory", w.cfg.Dir, "cause", err, "retry_in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// sync writes the present state, and reports whether it was another one than is there.
// Without a valid certificate it leaves the last files: their reader sees that they have expired.
func (w *Writer) sync() (bool, error) {
	snap, err := w.cfg.Source.Current()
	if err != nil {
		return false, nil //nolint:nilerr // the agent logs that, and a change wakes Run
	}
	files, err := render(snap)
	if err != nil {
		return false, err
	}
	wrote, err := w.write(files)
	if err != nil {
		w.metrics.writes.WithLabelValues("failed").Inc()
		return false, fmt.Errorf("write the files: %w", err)
	}
	if wrote {
		w.metrics.writes.WithLabelValues("ok").Inc()
		w.cfg.Logger.Info("certificate files written", "directory", w.cfg.Dir, "self", snap.ID, "not_after", snap.Certificate.Leaf.NotAfter)
	}
	return wrote, nil
}

// file is one file of a generation.
type file struct {
	name string
	data []byte
	key  bool
}

// render makes the files. What is unknown has no file, so that a reader cannot take it for empty.
func render(snap *certs.Snapshot) ([]file, error) {
	key, err := marshalKey(snap.Certificate.PrivateKey)
	if err != nil {
		return nil, err
	}
	var roots [][]byte
	for _, root := range snap.Bundle.Roots() {
		roots = append(roots, root.Raw)
	}
	files := []file{
		{name: certs.CertFile, data: encodePEM("CERTIFICATE", snap.Certificate.Certificate)},
		{name: certs.KeyFile, data: key, key: true},
		{name: certs.RootsFile, data: encodePEM("CERTIFICATE", roots)},
	}
	if snap.Revocation != nil {
		files = append(files, file{name: certs.CRLFile, data: encodePEM("X509 CRL", snap.Revocation.CRLs())})
	}
	if snap.Policy != nil {
		policy, err := json.Marshal(snap.Policy)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: certs.PolicyFile, data: append(policy, '\n')})
	}
	if staple := snap.Certificate.OCSPStaple; staple != nil {
		files = append(files, file{name: certs.StapleFile, data: staple})
	}
	return files, nil
}

func encodePEM(kind string, ders [][]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return out
}

// links are the names in DIR that lead through ..current.
var links = []string{certs.CertFile, certs.KeyFile, certs.RootsFile, certs.CRLFile, certs.PolicyFile, certs.StapleFile}

func (w *Writer) path(parts ...string) string {
	return filepath.Join(append([]string{w.cfg.Dir}, parts...)...)
}
