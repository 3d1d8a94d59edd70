package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/ca/store/storetest"
)

func TestCreateNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	store := open(t, path)
	c := storetest.Certificate("a")
	_, _, err := store.RecordIssuance(t.Context(), ca.Issuance{Certificate: c})
	must(t, err)
	if err := sqlite.Create(t.Context(), path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second Create: %v, want fs.ErrExist", err)
	}
	if _, err := store.Certificate(t.Context(), c.Serial); err != nil {
		t.Error(err)
	}
}

func TestOpenNeverCreates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if _, err := sqlite.Open(t.Context(), path, sqlite.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing: %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open made a file: %v", err)
	}
}

func TestOpenRefusesWhatIsNoLedger(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	run(t, foreign, "CREATE TABLE t (x)")
	unfinished := filepath.Join(dir, "unfinished.db")
	run(t, unfinished, "PRAGMA application_id = 1212566599")
	for name, test := range map[string]struct {
		content []byte
		path    string
		want    string
	}{
		"empty":                   {[]byte{}, "", "not a Handfast ledger"},
		"text":                    {[]byte(strings.Repeat("no database at all\n", 1000)), "", "not a SQLite database"},
		"a foreign database":      {nil, foreign, "not a Handfast ledger"},
		"one that was not filled": {nil, unfinished, "never finished"},
	} {
		path := test.path
		if path == "" {
			path = filepath.Join(dir, "file")
			must(t, os.WriteFile(path, test.content, 0o600))
		}
		before, err := os.ReadFile(path)
		must(t, err)
		if _, err := sqlite.Open(t.Context(), path, sqlite.Options{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if after, err := os.ReadFile(path); err != nil || len(after) != len(before) {
			t.Errorf("%s: %d bytes became %d, %v", name, len(before), len(after), err)
		}
	}
}

func TestOpenRefusesANewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	run(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)")
	if _, err := sqlite.Open(t.Context(), path, sqlite.Options{}); !errors.Is(err, sqlite.ErrTooNew) {
		t.Errorf("Open: %v, want ErrTooNew", err)
	}
}

func TestAPathWithOddCharacters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?mode=memory#x%41&c")
	must(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	must(t, open(t, path).Probe(t.Context()))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
		t.Errorf("directory holds %v, %v; want the file, its -wal and its -shm", entries, err)
	}
}

func TestFilesAreTheOwnersOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	must(t, open(t, path).Probe(t.Context()))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s, want 0600", info.Name(), info.Mode())
		}
	}
}

func TestCloseFinishesWhatWasAccepted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	must(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var acknowledged []ca.Certificate
	for range 200 {
		wg.Go(func() {
			c := storetest.Certificate("a")
			if _, _, err := store.RecordIssuance(context.Background(), ca.Issuance{Certificate: c}); err == nil {
				mu.Lock()
				acknowledged = append(acknowledged, c)
				mu.Unlock()
			}
		})
	}
	must(t, store.Close())
	must(t, store.Close())
	wg.Wait() // nobody waits for ever
	if err := store.Probe(t.Context()); err == nil {
		t.Error("a write after Close succeeded")
	}
	if _, err := store.Service(t.Context(), "a"); err == nil || errors.Is(err, ca.ErrNotFound) {
		t.Errorf("a read after Close: %v, want a fault", err)
	}
	again := open(t, path)
	for _, c := range acknowledged {
		if _, err := again.Certificate(t.Context(), c.Serial); err != nil {
			t.Errorf("acknowledged, and not there: %v", err)
		}
	}
}

func TestCloseLetsGoOfTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	must(t, err)
	c := storetest.Certificate("a")
	_, _, err = store.RecordIssuance(t.Context(), ca.Issuance{Certificate: c})
	must(t, err)
	_, err = store.Certificate(t.Context(), c.Serial)
	must(t, err)
	must(t, store.Close())
	// The last one to leave folds the write-ahead log into the file.
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the write-ahead log is still there: %v", err)
	}
}

// TestACertificateTakesAtMost1000Bytes measures the file after a realistic mixture: one
// in ten came with a token, every one with an idempotency key of a day.
func TestACertificateTakesAtMost1000Bytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	must(t, err)
	const n = 10_000
	var wg sync.WaitGroup
	for worker := range 100 {
		wg.Go(func() {
			for i := range n / 100 {
				c := storetest.Certificate(fmt.Sprintf("team-%d/service-%d", worker, i%10))
				c.By = c.ID.String()
				issuance := ca.Issuance{Certificate: c}
				if i%10 == 0 {
					issuance.OneTime = &ca.OneTime{ID: c.Serial.String(), ExpiresAt: c.NotAfter}
					issuance.Certificate.By = c.Serial.String()[:16]
				}
				if _, _, err := store.RecordIssuance(t.Context(), issuance); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, store.Close())
	info, err := os.Stat(path)
	must(t, err)
	each := info.Size() / n
	t.Logf("%d bytes a certificate, 700 of them its DER", each)
	if each > 1000 {
		t.Errorf("%d bytes a certificate, want at most 1000", each)
	}
}

// run executes statements on a file that is not open elsewhere.
func run(t *testing.T, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	must(t, err)
	_, err = db.ExecContext(t.Context(), statements)
	must(t, err)
	must(t, db.Close())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
