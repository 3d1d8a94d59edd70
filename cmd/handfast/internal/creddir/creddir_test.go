package creddir_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/handfast/handfast/cmd/handfast/internal/creddir"
)

func generation(n int) creddir.Files {
	return creddir.Files{Cert: fmt.Appendf(nil, "cert %d", n), Key: fmt.Appendf(nil, "key %d", n), Roots: fmt.Appendf(nil, "roots %d", n)}
}

func mustWrite(t *testing.T, dir string, f creddir.Files) {
	t.Helper()
	if err := creddir.Write(dir, f); err != nil {
		t.Fatal(err)
	}
}

func mustHold(t *testing.T, dir string, want creddir.Files) {
	t.Helper()
	got, err := creddir.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !same(got, want) {
		t.Fatalf("holds %s; want %s", got, want)
	}
	for name, content := range map[string][]byte{creddir.CertFile: want.Cert, creddir.KeyFile: want.Key, creddir.RootsFile: want.Roots} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if content == nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v; want none", name, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(data, content) {
			t.Errorf("%s holds %q, %v; want %q", name, data, err, content)
		}
	}
}

func same(a, b creddir.Files) bool {
	return bytes.Equal(a.Cert, b.Cert) && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Roots, b.Roots)
}

func TestWriteReplacesAndKeepsOneGeneration(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for n := range 3 {
		mustWrite(t, dir, generation(n))
		mustHold(t, dir, generation(n))
	}
	generations, err := filepath.Glob(filepath.Join(dir, "..generation-*"))
	if err != nil || len(generations) != 1 {
		t.Fatalf("generations: %v, %v; want one, so that old keys do not pile up", generations, err)
	}
	info, err := os.Stat(filepath.Join(dir, creddir.KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode of the key: %v, %v; want 0600", info.Mode(), err)
	}
}

func TestWriteWithoutAKeyRemovesTheOldOne(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, generation(1))
	f := generation(2)
	f.Key = nil
	mustWrite(t, dir, f)
	mustHold(t, dir, f)
}

func TestPlainFilesAreAdopted(t *testing.T) {
	dir := t.TempDir()
	old := generation(1)
	for name, data := range map[string][]byte{creddir.CertFile: old.Cert, creddir.KeyFile: old.Key, creddir.RootsFile: old.Roots, "other.txt": []byte("x")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustHold(t, dir, old)
	mustWrite(t, dir, generation(2))
	mustHold(t, dir, generation(2))
	if _, err := os.Stat(filepath.Join(dir, "other.txt")); err != nil {
		t.Error("a file of somebody else is gone")
	}
}

func TestOccupied(t *testing.T) {
	dir := t.TempDir()
	if path, err := creddir.Occupied(dir); err != nil || path != "" {
		t.Fatalf("empty: %q, %v", path, err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, creddir.KeyFile)); err != nil {
		t.Fatal(err)
	}
	if path, err := creddir.Occupied(dir); err != nil || !strings.HasSuffix(path, creddir.KeyFile) {
		t.Fatalf("a dangling link: %q, %v", path, err)
	}
}

func TestReadSaysThatThereIsNone(t *testing.T) {
	if _, err := creddir.Read(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("err = %v; want fs.ErrNotExist", err)
	}
}

// Invariant 24 on disk: whatever moment a reader looks at, certificate and key belong together.
func TestReadersNeverSeeAMixture(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, generation(0))
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
				f, err := creddir.Read(dir)
				if errors.Is(err, fs.ErrNotExist) {
					continue // the writer was faster five times in a row
				}
				if err != nil {
					t.Error(err)
					return
				}
				if strings.TrimPrefix(string(f.Cert), "cert ") != strings.TrimPrefix(string(f.Key), "key ") {
					t.Errorf("mixture: %s and %s", f.Cert, f.Key)
					return
				}
			}
		})
	}
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for n := range 12 {
				if err := creddir.Write(dir, generation(1000*w+n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if _, err := creddir.Read(dir); err != nil {
		t.Fatal(err)
	}
}

// A crash after any system call of a write leaves one whole generation. The states that such a
// crash can leave are built by hand: debris of a new generation, a temporary link, names that
// are not links yet.
func TestWriteGoesOnAfterACrash(t *testing.T) {
	crashes := map[string]func(t *testing.T, dir string){
		"half a generation": func(t *testing.T, dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "..generation-1"), 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "..generation-1", creddir.CertFile), []byte("cert 9"), 0o600))
		},
		"temporary link": func(t *testing.T, dir string) {
			must(t, os.Symlink("..generation-9", filepath.Join(dir, "..current.new")))
		},
		"a name that is no link yet": func(t *testing.T, dir string) {
			path := filepath.Join(dir, creddir.RootsFile)
			data, err := os.ReadFile(path)
			must(t, err)
			must(t, os.Remove(path))
			must(t, os.WriteFile(path, data, 0o600))
		},
	}
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustWrite(t, dir, generation(1))
			crash(t, dir)
			mustHold(t, dir, generation(1))
			mustWrite(t, dir, generation(2))
			mustHold(t, dir, generation(2))
			entries, err := os.ReadDir(dir)
			must(t, err)
			if len(entries) != 5 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}

func TestAFailedWriteKeepsTheOldOnes(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, dir, generation(1))
	// A directory in the temporary link's place cannot be removed while it holds something.
	must(t, os.MkdirAll(filepath.Join(dir, "..current.new", "x"), 0o700))
	if err := creddir.Write(dir, generation(2)); err == nil {
		t.Fatal("Write succeeded")
	}
	mustHold(t, dir, generation(1))
	generations, err := filepath.Glob(filepath.Join(dir, "..generation-*"))
	if err != nil || len(generations) != 1 {
		t.Fatalf("generations: %v, %v; want the old one only", generations, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
