package sqlite_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
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
	token := &ca.OneTime{ID: "token:t", ExpiresAt: revoked.NotAfter}
	key := &ca.Idempotency{Key: "k", Digest: sha256.Sum256([]byte("r")), ExpiresAt: revoked.NotAfter}
	for _, issuance := range []ca.Issuance{{Certificate: revoked}, {Certificate: valid, OneTime: token, Idempotency: key}} {
		if _, _, err := store.RecordIssuance(t.Context(), issuance); err != nil {
			t.Fatal(err)
		}
	}
	revoke(store, revoked.Serial, certs.Superseded)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, path, before4(revoked, valid)+`DROP TABLE agents; ALTER TABLE services DROP COLUMN max_silence; DROP INDEX log_state; DROP INDEX log_held; DROP INDEX log_not_after; DROP TABLE compromised_keys;
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
	used, known := *token, *key // the same two, as they are called since they have places
	used.ID, known.Key = ca.Placed(7, used.ID), ca.Placed(7, known.Key)
	again := ca.Issuance{Certificate: storetest.Certificate("a"), OneTime: &used}
	if _, _, err := store.RecordIssuance(t.Context(), again); !errors.Is(err, ca.ErrTokenUsed) {
		t.Errorf("a token from before: %v, want ErrTokenUsed", err)
	}
	again.Idempotency = &known
	if first, replayed, err := store.RecordIssuance(t.Context(), again); err != nil || !replayed || first.Serial != valid.Serial {
		t.Errorf("a key from before: serial %s, replayed %t, %v", first.Serial, replayed, err)
	}
	if first, err := store.Replay(t.Context(), known.Key, known.Digest); err != nil || first.Serial != valid.Serial || !bytes.Equal(first.DER, valid.DER) {
		t.Errorf("a key from before: serial %s, %v", first.Serial, err)
	}
	if counts, err := store.Counts(t.Context(), at.Add(time.Minute)); err != nil || counts != (ca.Counts{Live: 1, Revoked: 1, Held: 1}) {
		t.Errorf("Counts = %+v, %v", counts, err)
	}
	if _, err := store.Purge(t.Context(), token.ExpiresAt.Add(time.Second), 100); err != nil {
		t.Error(err)
	}
	if _, replayed, err := store.RecordIssuance(t.Context(), again); err != nil || replayed {
		t.Errorf("when all of before has expired: replayed %t, %v", replayed, err)
	}
}

// before4 undoes what the fourth migration has made smaller, for the token "token:t", the key
// "k" with the digest of "r", and these certificates, the last of which they led to.
func before4(certificates ...ca.Certificate) string {
	text := ""
	for _, c := range certificates {
		text += fmt.Sprintf("UPDATE certificates SET der = x'%x' WHERE serial = x'%x';", c.DER, c.Serial.Bytes())
	}
	last := certificates[len(certificates)-1]
	return text + fmt.Sprintf(`ALTER TABLE certificates DROP COLUMN template; DROP TABLE templates; DROP TABLE one_time; DROP TABLE idempotency;
		DROP TABLE one_time_before; DROP TABLE idempotency_before;
		CREATE TABLE one_time (id BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID;
		CREATE INDEX one_time_expires_at ON one_time (expires_at);
		CREATE TABLE idempotency (key BLOB PRIMARY KEY, digest BLOB NOT NULL, certificate INTEGER NOT NULL, expires_at INTEGER NOT NULL) WITHOUT ROWID;
		CREATE INDEX idempotency_expires_at ON idempotency (expires_at);
		INSERT INTO one_time VALUES (x'%x', %d);
		INSERT INTO idempotency SELECT x'%x', x'%x', seq, not_after FROM certificates WHERE serial = x'%x';`,
		sha256.Sum256([]byte("token:t")), last.NotAfter.Unix(), sha256.Sum256([]byte("k")), sha256.Sum256([]byte("r")), last.Serial.Bytes())
}
