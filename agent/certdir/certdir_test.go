package certdir

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

type world struct {
	*testpki.PKI
	source *testpki.Source
	dir    string
	log    *logtest.Buffer
}

func newWorld(t *testing.T) *world {
	pki := testpki.New(t, "test.example", nil)
	return &world{PKI: pki, source: testpki.NewSource(pki.Snapshot(pki.ID("web"), time.Hour, "*")), dir: filepath.Join(t.TempDir(), "files"), log: &logtest.Buffer{}}
}

func (w *world) config() Config {
	return Config{Source: w.source, Dir: w.dir, Logger: slog.New(slog.NewTextHandler(w.log, nil))}
}

func (w *world) rotate() { w.source.Set(w.Snapshot(w.ID("web"), time.Hour, "*")) }

func start(t *testing.T, cfg Config) {
	t.Helper()
	writer, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- writer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !check() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// isCurrent reports whether the files are of the source's snapshot.
func (w *world) isCurrent() bool {
	snap, _ := w.source.Current()
	pair, err := tls.LoadX509KeyPair(filepath.Join(w.dir, certs.CertFile), filepath.Join(w.dir, certs.KeyFile))
	return err == nil && bytes.Equal(pair.Certificate[0], snap.Certificate.Certificate[0])
}

func TestFileSourceReadsWhatIsWritten(t *testing.T) {
	w := newWorld(t)
	start(t, w.config())
	follower := certs.FileSource(w.dir, certs.PollEvery(5*time.Millisecond))
	defer follower.Close()
	for range 3 {
		want, _ := w.source.Current()
		eventually(t, "the follower has the snapshot", func() bool {
			got, err := follower.Current()
			return err == nil && got.Certificate.Leaf.Equal(want.Certificate.Leaf)
		})
		got, err := follower.Current()
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Policy.Allows(w.ID("anyone")); err != nil {
			t.Errorf("policy: %v", err)
		}
		if len(got.Revocation.Numbers()) != 1 || len(got.Bundle.Roots()) != 1 {
			t.Errorf("revocation %v, roots %d", got.Revocation.Numbers(), len(got.Bundle.Roots()))
		}
		w.rotate()
	}
}

func TestModesAndLayout(t *testing.T) {
	w := newWorld(t)
	start(t, w.config())
	eventually(t, "files", w.isCurrent)
	want := map[string]fs.FileMode{certs.CertFile: 0o644, certs.KeyFile: 0o600, certs.RootsFile: 0o644, certs.CRLFile: 0o644, certs.PolicyFile: 0o644, ".": 0o700, certs.CurrentLink: 0o700}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(w.dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, mode)
		}
	}
	for range 5 {
		w.rotate()
		eventually(t, "rotation", w.isCurrent)
	}
	eventually(t, "old generations go", func() bool {
		generations, _ := filepath.Glob(filepath.Join(w.dir, "..generation-*"))
		return len(generations) == 2
	})
}

func TestGroupAndKeyMode(t *testing.T) {
	w := newWorld(t)
	gid := os.Getgid()
	cfg := w.config()
	cfg.Group = &gid
	start(t, cfg)
	eventually(t, "files", w.isCurrent)
	for name, mode := range map[string]fs.FileMode{certs.KeyFile: 0o640, certs.CurrentLink: 0o750} {
		info, err := os.Stat(filepath.Join(w.dir, name))
		if err != nil || info.Mode().Perm() != mode || int(info.Sys().(*syscall.Stat_t).Gid) != gid {
			t.Errorf("%s: %v, %v; want %v of group %d", name, info.Mode(), err, mode, gid)
		}
	}
	for _, mode := range []fs.FileMode{0o644, 0o604, 0o666, 0o700} {
		bad := w.config()
		bad.KeyMode = mode
		if _, err := New(bad); err == nil {
			t.Errorf("key mode %v was taken", mode)
		}
	}
}

// Invariant 24: whoever reads in one generation gets a pair, however often it changes meanwhile.
func TestReadersNeverSeeAMixture(t *testing.T) {
	w := newWorld(t)
	start(t, w.config())
	eventually(t, "files", w.isCurrent)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				generation, err := os.Readlink(filepath.Join(w.dir, certs.CurrentLink))
				if err != nil {
					t.Error(err)
					return
				}
				dir := filepath.Join(w.dir, generation)
				_, err = tls.LoadX509KeyPair(filepath.Join(dir, certs.CertFile), filepath.Join(dir, certs.KeyFile))
				time.Sleep(100 * time.Microsecond)
				if err != nil && !errors.Is(err, fs.ErrNotExist) { // two changes later it may be gone
					t.Error(err)
					return
				}
			}
		})
	}
	for range 12 {
		w.rotate()
		eventually(t, "rotation", w.isCurrent)
	}
	close(stop)
	readers.Wait()
}

func TestUnknownPolicyAndRevocationHaveNoFile(t *testing.T) {
	w := newWorld(t)
	snap := *w.Snapshot(w.ID("web"), time.Hour)
	snap.Policy, snap.Revocation = nil, nil
	w.source.Set(&snap)
	start(t, w.config())
	eventually(t, "files", w.isCurrent)
	for _, name := range []string{certs.PolicyFile, certs.CRLFile} {
		if _, err := os.Stat(filepath.Join(w.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v; want none: an empty one would say that nobody is revoked", name, err)
		}
	}
}

func TestForeignFileIsNotOverwritten(t *testing.T) {
	w := newWorld(t)
	os.MkdirAll(w.dir, 0o755)
	os.Chmod(w.dir, 0o755) // whatever the umask is
	precious := filepath.Join(w.dir, certs.KeyFile)
	os.WriteFile(precious, []byte("precious"), 0o600)
	start(t, w.config())
	eventually(t, "complaint", func() bool { return strings.Contains(w.log.String(), "move it away") })
	if data, _ := os.ReadFile(precious); string(data) != "precious" {
		t.Errorf("overwritten with %q", data)
	}
	if info, _ := os.Stat(w.dir); info.Mode().Perm() != 0o755 {
		t.Errorf("the mode of a directory that was there became %v", info.Mode())
	}
}
