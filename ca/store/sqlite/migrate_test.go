package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/ca/store/storetest"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

// A ledger from before holds is brought up to date when it is opened, and what it holds stays.
func TestMigrateFromBeforeHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	revoked, valid := storetest.Certificate("a"), storetest.Certificate("a")
	at := revoked.IssuedAt
	revoke := func(store *sqlite.Store, serial certs.Serial, reason certs.Reason) {
		t.Helper()
		if _, err := store.Revoke(t.Context(), ca.RevokeSelection{Serial: serial}, reason, at, "x", false); err != nil {
			t.Fatal(err)
		}
	}
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []ca.Certificate{revoked, valid} {
		if _, _, err := store.RecordIssuance(t.Context(), ca.Issuance{Certificate: c}); err != nil {
			t.Fatal(err)
		}
	}
	revoke(store, revoked.Serial, certs.Superseded)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, path, `DROP TABLE agents; ALTER TABLE services DROP COLUMN max_silence; DROP INDEX log_state; DROP INDEX log_held; DROP INDEX log_not_after; DROP TABLE compromised_keys;
		CREATE INDEX log_not_after ON log (not_after) WHERE kind = 1; DELETE FROM goose_db_version WHERE version_id >= 2`)

	store = open(t, path)
	revoke(store, valid.Serial, certs.CertificateHold)
	for serial, want := range map[certs.Serial]revocation.Kind{revoked.Serial: revocation.Revoked, valid.Serial: revocation.Held} {
		row, err := store.Certificate(t.Context(), serial)
		if err != nil || row.Revocation == nil || row.Revocation.Kind != want {
			t.Errorf("row = %+v, %v; want kind %d", row.Revocation, err, want)
		}
	}
	if _, _, err := store.RecordIssuance(t.Context(), ca.Issuance{Certificate: storetest.Certificate("a"), Guard: ca.Guard{Key: [32]byte{1}}}); err != nil {
		t.Error(err)
	}
	if counts, err := store.Counts(t.Context(), at.Add(time.Minute)); err != nil || counts != (ca.Counts{Live: 1, Revoked: 1, Held: 1}) {
		t.Errorf("Counts = %+v, %v", counts, err)
	}
}
