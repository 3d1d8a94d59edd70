package sqlite_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/ca/store/sqlite"
)

// After a restore CRL numbers and policy versions are above all that were published
// after the backup, which the restored ledger knows nothing of.
func TestRestoreKeepsNumbersRising(t *testing.T) {
	dir := t.TempDir()
	path, copied, restoredPath := filepath.Join(dir, "ledger.db"), filepath.Join(dir, "copy.db"), filepath.Join(dir, "restored.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	original := open(t, path)
	publish(t, original)
	if err := sqlite.Backup(t.Context(), path, copied); err != nil {
		t.Fatal(err)
	}
	var last uint64
	for range 5 {
		last = publish(t, original)
	}
	service, err := original.PutService(t.Context(), policy.Service{Name: "web"}, 0)
	if err != nil {
		t.Fatal(err)
	}

	if err := sqlite.Restore(t.Context(), copied, restoredPath); err != nil {
		t.Fatal(err)
	}
	restored := open(t, restoredPath)
	if number := publish(t, restored); number <= last {
		t.Errorf("the first CRL number after the restore is %d; %d was published before", number, last)
	}
	if epoch, err := restored.PolicyEpoch(t.Context()); err != nil || epoch <= service.Version {
		t.Errorf("the policy epoch after the restore is %d, %v; %d was handed out before", epoch, err, service.Version)
	}
}

// A restore of a ledger in which nothing was ever published has no row to move on.
func TestRestoreOfAFreshLedger(t *testing.T) {
	dir := t.TempDir()
	path, restoredPath := filepath.Join(dir, "ledger.db"), filepath.Join(dir, "restored.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Restore(t.Context(), path, restoredPath); err != nil {
		t.Fatal(err)
	}
	if number := publish(t, open(t, restoredPath)); number < 1000 {
		t.Errorf("the first CRL number after the restore is %d", number)
	}
}

func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Restore(t.Context(), path, path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing ledger: %v; want fs.ErrExist", err)
	}
	if err := sqlite.Restore(t.Context(), filepath.Join(dir, "missing"), filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("from nothing: %v; want fs.ErrNotExist", err)
	}
	stale := filepath.Join(dir, "stale.db")
	if err := os.WriteFile(stale+"-wal", []byte("of another ledger"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Restore(t.Context(), path, stale); err == nil {
		t.Error("beside another ledger's write-ahead log: restored")
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused restore left a ledger behind: %v", err)
	}
}

func publish(t *testing.T, store *sqlite.Store) uint64 {
	t.Helper()
	number, err := store.AppendPublished(t.Context(), "0123456789abcdef0123456789abcdef01234567", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return number
}
