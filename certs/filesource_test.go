package certs

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// files are a snapshot as its files.
func files(t testing.TB, snap *Snapshot) map[string][]byte {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(snap.Certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := json.Marshal(snap.Policy)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		CertFile: pemOf("CERTIFICATE", snap.Certificate.Certificate...), KeyFile: pemOf("PRIVATE KEY", key),
		RootsFile: pemOf("CERTIFICATE", snap.Bundle.Roots()[0].Raw), CRLFile: pemOf("X509 CRL", snap.Revocation.CRLs()...),
		PolicyFile: policy,
	}
}

func writeFiles(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// publishFiles makes files the directory's next generation and drops the one before, as an agent does.
func publishFiles(t testing.TB, dir, generation string, files map[string][]byte) {
	t.Helper()
	writeFiles(t, filepath.Join(dir, generation), files)
	before, _ := os.Readlink(filepath.Join(dir, CurrentLink))
	next := filepath.Join(dir, "..next")
	if err := os.Symlink(generation, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, CurrentLink)); err != nil {
		t.Fatal(err)
	}
	if before != "" && before != generation {
		if err := os.RemoveAll(filepath.Join(dir, before)); err != nil {
			t.Fatal(err)
		}
	}
}

// loads is what OnLoad heard.
type loads struct {
	mu   sync.Mutex
	errs []error
}

func (l *loads) add(_ *Snapshot, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

func (l *loads) last() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) == 0 {
		return 0, nil
	}
	return len(l.errs), l.errs[len(l.errs)-1]
}

func TestFileSourceFollowsRotation(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		var heard loads
		src := FileSource(dir, OnLoad(heard.add))
		defer src.Close()
		synctest.Wait() // it has looked once
		if _, err := src.Current(); err == nil {
			t.Error("a snapshot out of an empty directory")
		}
		first := w.snapshot(t, "api", "*")
		publishFiles(t, dir, "..1", files(t, first))
		if err := src.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := src.Current()
		if err != nil {
			t.Fatal(err)
		}
		sameSnapshot(t, "first", got, first)
		time.Sleep(10 * time.Second)
		if n, _ := heard.last(); n != 2 { // the empty directory, and the first generation
			t.Errorf("loaded %d times though nothing changed", n)
		}
		second := w.snapshot(t, "api", "*")
		publishFiles(t, dir, "..2", files(t, second))
		time.Sleep(2 * time.Second)
		next, err := src.Current()
		if err != nil {
			t.Fatal(err)
		}
		sameSnapshot(t, "second", next, second)
		if next.Revocation == got.Revocation {
			t.Error("another CRL, but the same revocation")
		}
	})
}

// A CRL that did not change is neither indexed nor verified again.
func TestFileSourceKeepsUnchangedRevocation(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		first := files(t, w.snapshot(t, "api", "*"))
		publishFiles(t, dir, "..1", first)
		src := FileSource(dir)
		defer src.Close()
		if err := src.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		before, _ := src.Current()
		second := files(t, w.snapshot(t, "api", "*"))
		second[CRLFile] = first[CRLFile]
		publishFiles(t, dir, "..2", second)
		time.Sleep(2 * time.Second)
		after, err := src.Current()
		if err != nil || after == before || after.Revocation != before.Revocation {
			t.Errorf("%v, other snapshot %v, same revocation %v", err, after != before, after.Revocation == before.Revocation)
		}
	})
}

// Unknown, missing or corrupt policy denies every caller; missing revocation data
// refuses every peer (invariant 23).
func TestWhatIsMissingDenies(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(f map[string][]byte, other map[string][]byte)
		cause Cause
	}{
		"sound":          {func(map[string][]byte, map[string][]byte) {}, ""},
		"policy missing": {func(f, _ map[string][]byte) { delete(f, PolicyFile) }, CausePolicyUnknown},
		"policy empty":   {func(f, _ map[string][]byte) { f[PolicyFile] = nil }, CausePolicyUnknown},
		"policy cut off": {func(f, _ map[string][]byte) { f[PolicyFile] = f[PolicyFile][:20] }, CausePolicyUnknown},
		"policy with an unknown field": {func(f, _ map[string][]byte) {
			f[PolicyFile] = []byte(`{"id":"spiffe://prod.test/api","callers":["*"],"x":1}`)
		}, CausePolicyUnknown},
		"another service's policy": {func(f, other map[string][]byte) { f[PolicyFile] = other[PolicyFile] }, CausePolicyUnknown},
		"nobody allowed":           {func(f, _ map[string][]byte) { f[PolicyFile] = []byte(`{"id":"spiffe://prod.test/api","callers":[]}`) }, CausePolicyDenied},
		"revocation missing":       {func(f, _ map[string][]byte) { delete(f, CRLFile) }, CauseRevocationUnknown},
		"no lists":                 {func(f, _ map[string][]byte) { f[CRLFile] = nil }, CauseRevocationUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, time.Now())
				publishFiles(t, dir, "..1", files(t, w.snapshot(t, "api", "*")))
				src := FileSource(dir)
				defer src.Close()
				if err := src.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				next := files(t, w.snapshot(t, "api", "*"))
				test.spoil(next, files(t, w.snapshot(t, "web", "*")))
				publishFiles(t, dir, "..2", next)
				time.Sleep(2 * time.Second)
				if unsound := test.cause == CausePolicyUnknown || name == "revocation missing"; (src.Err() != nil) != unsound {
					t.Errorf("Err is %v", src.Err())
				}
				e := newEndpoint(src, x509.ExtKeyUsageClientAuth, nil)
				e.authorize = AllowPolicy(src).decide
				_, err := e.judge(chainOf(t, w.issuer.leaf("spiffe://prod.test/web")), nil)
				if causeOf(t, err) != test.cause {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// Readers never see a certificate with another's key, however fast the files change,
// with generations and without (invariant 24).
func TestCertificateAndKeyChangeTogether(t *testing.T) {
	w := newWorld(t, time.Now())
	var states []map[string][]byte
	for range 4 {
		states = append(states, files(t, w.snapshot(t, "api", "*")))
	}
	for name, swap := range map[string]func(dir string, i int){
		"generations": func(dir string, i int) { publishFiles(t, dir, fmt.Sprintf("..%d", i), states[i%4]) },
		"bare files":  func(dir string, i int) { writeFiles(t, dir, states[i%4]) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			swap(dir, 0)
			src := FileSource(dir, PollEvery(50*time.Microsecond))
			defer src.Close()
			if err := src.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			var stop atomic.Bool
			var changes atomic.Int64 // that readers saw
			var readers sync.WaitGroup
			for range 2 {
				var last *Snapshot
				readers.Go(func() {
					for !stop.Load() {
						snap, err := src.Current()
						if err != nil || checkKeyFits(snap.Certificate.Leaf, snap.Certificate.PrivateKey) != nil || string(snap.Certificate.Certificate[0]) != string(snap.Certificate.Leaf.Raw) {
							t.Errorf("a mixture: %v", err)
							return
						}
						if snap != last {
							changes.Add(1)
							last = snap
						}
						time.Sleep(10 * time.Microsecond) // leave the writer a core
					}
				})
			}
			for i := 0; i < 60 || name == "generations" && changes.Load() < 6 && !t.Failed(); i++ { // until something was raced
				swap(dir, i+1)
			}
			stop.Store(true)
			readers.Wait()
		})
	}
}

func TestFileSourceWithoutGenerations(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		first, second := w.snapshot(t, "api"), w.snapshot(t, "api", "*")
		writeFiles(t, dir, files(t, first))
		src := FileSource(dir)
		defer src.Close()
		if err := src.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		// The key alone has changed: not used, and the old pair stays.
		f := files(t, second)
		writeFiles(t, dir, map[string][]byte{KeyFile: f[KeyFile]})
		time.Sleep(2 * time.Second)
		if got, err := src.Current(); err != nil || !got.Certificate.Leaf.Equal(first.Certificate.Leaf) || src.Err() == nil {
			t.Errorf("%v, Err %v", err, src.Err())
		}
		writeFiles(t, dir, f)
		time.Sleep(2 * time.Second)
		if got, err := src.Current(); err != nil || !got.Certificate.Leaf.Equal(second.Certificate.Leaf) || src.Err() != nil {
			t.Errorf("%v, Err %v", err, src.Err())
		}
	})
}

// A generation that is replaced between the look and the reading is not used: what
// counts is the newest that stands still.
func TestGenerationReplacedWhileRead(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, time.Now())
	first, second := w.snapshot(t, "api"), w.snapshot(t, "api", "*")
	publishFiles(t, dir, "..1", files(t, first))
	watch := &watcher{dir: dir}
	if !watch.changed() {
		t.Fatal("the first generation is no change")
	}
	publishFiles(t, dir, "..2", files(t, second))
	writeFiles(t, filepath.Join(dir, "..1"), files(t, first)) // still there, as a slow reader finds it
	got, err := watch.load(nil)
	if err != nil {
		t.Fatal(err)
	}
	sameSnapshot(t, "after the swap", got, second)
	if watch.changed() {
		t.Error("what was read is called a change again")
	}
}
