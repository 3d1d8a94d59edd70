package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/handfast/handfast/certs"
)

// purges are the kinds of row that may be forgotten, in this order. Each takes the time before
// which a row must have expired and how many rows it may delete.
var purges = []struct {
	text string
	cost int // rows that go with each
}{
	// Of several entries about a certificate the last says all: the others go first.
	{`DELETE FROM log WHERE seq IN (
		SELECT l.seq FROM log l WHERE l.serial IS NOT NULL AND l.not_after < ?1
		AND EXISTS (SELECT 1 FROM log n WHERE n.serial = l.serial AND n.seq > l.seq) AND ` + publishedSince + ` LIMIT ?2)`, 1},
	// The last goes together with the certificate, and only after a CRL was published
	// past the expiry (RFC 5280, section 3.3: it stands on one more CRL).
	{purgeRevoked, 2},
	{purgeExpired, 1},
	// The newest of each issuer stays: it holds the CRL number.
	{`DELETE FROM log WHERE seq IN (
		SELECT p.seq FROM log p WHERE p.kind = 2 AND p.at < ?1
		AND EXISTS (SELECT 1 FROM log n WHERE n.kind = 2 AND n.issuer = p.issuer AND n.seq > p.seq) LIMIT ?2)`, 1},
	{"DELETE FROM one_time WHERE id IN (SELECT id FROM one_time WHERE expires_at < ?1 LIMIT ?2)", 1},
	{"DELETE FROM one_time_before WHERE id IN (SELECT id FROM one_time_before WHERE expires_at < ?1 LIMIT ?2)", 1},
	{"DELETE FROM agents WHERE (service, id) IN (SELECT service, id FROM agents WHERE not_after < ?1 LIMIT ?2)", 1},
	{"DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE expires_at < ?1 LIMIT ?2)", 1},
	{"DELETE FROM idempotency_before WHERE key IN (SELECT key FROM idempotency_before WHERE expires_at < ?1 LIMIT ?2)", 1},
}

const (
	purgeExpired = `DELETE FROM certificates WHERE seq IN (
		SELECT c.seq FROM certificates c WHERE c.not_after < ?1
		AND NOT EXISTS (SELECT 1 FROM log l WHERE l.serial = c.serial) LIMIT ?2) RETURNING subject, serial`
	purgeRevoked = `DELETE FROM certificates WHERE serial IN (` + purgeableSerials + `) RETURNING subject, serial`
	purgeSubject = `DELETE FROM subjects WHERE id = ? AND NOT EXISTS (SELECT 1 FROM certificates WHERE subject = subjects.id)`
	purgeEntries = `DELETE FROM log WHERE serial IN (` + purgeableSerials + `)`
	// The same serials for both: the order is fixed and nothing changes in between.
	purgeableSerials = `SELECT l.serial FROM log l WHERE l.serial IS NOT NULL AND l.not_after < ?1
		AND NOT EXISTS (SELECT 1 FROM log o WHERE o.serial = l.serial AND o.seq <> l.seq) AND ` + publishedSince + `
		ORDER BY l.not_after, l.seq LIMIT ?2`
	publishedSince = `EXISTS (SELECT 1 FROM log p WHERE p.kind = 2 AND p.issuer = l.issuer AND p.seq > l.seq AND p.at > l.not_after)`
)

// Purge implements ca.Ledger. Nobody waits for it, so it shares the commits of others where it can.
func (s *Store) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	deleted := 0
	err := s.writer.commitOf(&change{ctx: ctx, effect: onPurged, patient: true, apply: func(t *tx) (err error) {
		deleted, err = purge(t, before, limit)
		return err
	}})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}

// purge also deletes subjects with their last certificate, uncounted.
func purge(t *tx, before time.Time, limit int) (int, error) {
	deleted, subjects := 0, make(map[int64]bool)
	for _, p := range purges {
		budget := (limit - deleted) / p.cost
		if budget <= 0 {
			continue
		}
		n, err := purgeSome(t, p.text, before, budget, subjects)
		if err != nil {
			return 0, err
		}
		deleted += n
		if p.text != purgeRevoked {
			continue
		}
		if n, err = t.changed(purgeEntries, before.Unix(), budget); err != nil {
			return 0, err
		}
		deleted += n
	}
	for subject := range subjects {
		if err := t.exec(purgeSubject, subject); err != nil {
			return 0, err
		}
	}
	return deleted, nil
}

// purgeSome notes whose certificates were deleted: to look for subjects without any would be to
// look at all of them.
func purgeSome(t *tx, text string, before time.Time, limit int, subjects map[int64]bool) (int, error) {
	if text != purgeExpired && text != purgeRevoked {
		return t.changed(text, before.Unix(), limit)
	}
	rows, err := t.query(text, before.Unix(), limit)
	if err != nil {
		return 0, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	deleted := 0
	for ; rows.Next(); deleted++ {
		var subject int64
		var octets []byte
		if err := rows.Scan(&subject, &octets); err != nil {
			return 0, err
		}
		serial, err := certs.SerialFromBytes(octets)
		if err != nil {
			return 0, fmt.Errorf("a serial is damaged: %w", err)
		}
		subjects[subject], t.gone = true, append(t.gone, serial)
	}
	return deleted, rows.Err()
}
