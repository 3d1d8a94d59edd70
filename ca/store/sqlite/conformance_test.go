package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/ca/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) ca.Ledger { return fresh(t) })
}

// fresh creates and opens a ledger of the test's own.
func fresh(t testing.TB) *sqlite.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}
