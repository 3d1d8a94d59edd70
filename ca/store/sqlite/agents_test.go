package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/ca/store/storetest"
)

func TestAgentsAreKnownAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, sqlite.Create(t.Context(), path))
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	must(t, err)
	want := storetest.Agent("shop/cart", "a")
	want.SilentSince = want.EnforcedAt.Add(time.Minute)
	must(t, store.SaveAgents(t.Context(), []ca.AgentRow{want}))
	must(t, store.Close())
	list, err := open(t, path).Agents(t.Context())
	must(t, err)
	if len(list) != 1 || list[0] != want {
		t.Errorf("agents = %+v, want %+v", list, want)
	}
}
