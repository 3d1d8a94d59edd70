package sqlite_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/ca/store/sqlite"
)

// A backup that is made while the ledger is written is a ledger: it opens, and holds
// everything that was durable before it began.
func TestBackupWhileWriting(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "ledger.db"), filepath.Join(dir, "copy.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // read below through the copy
	var durable atomic.Int64
	stop, stopped, started := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := int64(1); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := store.PutService(t.Context(), policy.Service{Name: fmt.Sprintf("s%06d", i)}, 0); err != nil {
				t.Errorf("write during the backup: %v", err)
				return
			}
			if durable.Store(i); i == 20 {
				close(started)
			}
		}
	}()
	<-started
	before := durable.Load()
	err = sqlite.Backup(t.Context(), path, copied)
	close(stop)
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	restored, err := sqlite.Open(t.Context(), copied, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close() //nolint:errcheck // only read from
	for i := int64(1); i <= before; i++ {
		if _, err := restored.Service(t.Context(), fmt.Sprintf("s%06d", i)); err != nil {
			t.Fatalf("service %d of %d that were durable before the backup: %v", i, before, err)
		}
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the copy: %v, %v; want 0600", info, err)
	}
}

func TestBackupRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Backup(t.Context(), path, precious); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v; want fs.ErrExist", err)
	}
	if content, err := os.ReadFile(precious); err != nil || string(content) != "precious" {
		t.Errorf("the file is now %q, %v", content, err)
	}
	if err := sqlite.Backup(t.Context(), filepath.Join(dir, "nothing"), filepath.Join(dir, "copy")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v; want fs.ErrNotExist", err)
	}
	if err := sqlite.Backup(t.Context(), precious, filepath.Join(dir, "copy")); err == nil {
		t.Error("a file that is no ledger was backed up")
	}
	if _, err := os.Lstat(filepath.Join(dir, "copy")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed backup left something behind: %v", err)
	}
}
