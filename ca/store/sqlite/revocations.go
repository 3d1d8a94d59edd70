package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

const (
	selectEntries = `SELECT l.seq, l.kind, i.key_id, l.serial, l.reason, l.at, l.not_after
		FROM log l JOIN issuers i ON i.id = l.issuer WHERE l.seq > ? ORDER BY l.seq LIMIT ?`
	selectIssued = `SELECT 1 FROM certificates c JOIN issuers i ON i.id = c.issuer WHERE c.serial = ? AND i.key_id = ?`
	insertEntry  = "INSERT INTO log (kind, issuer, serial, reason, at, not_after, done_by) VALUES (?, ?, ?, ?, ?, ?, ?)"
)

// Entries implements revocation.Log.
func (s *Store) Entries(ctx context.Context, after uint64, limit int) ([]revocation.Entry, error) {
	rows, err := reader{ctx, s}.query(selectEntries, int64(after), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	var entries []revocation.Entry
	for rows.Next() {
		var e revocation.Entry
		var sequence, kind, reason, at, notAfter int64
		var keyID, serial []byte
		if err := rows.Scan(&sequence, &kind, &keyID, &serial, &reason, &at, &notAfter); err != nil {
			return nil, err
		}
		e.Sequence, e.Kind = uint64(sequence), revocation.Kind(kind)
		e.Issuer, e.Reason, e.At = hex.EncodeToString(keyID), certs.Reason(reason), fromUnix(at)
		if e.Kind != revocation.Published {
			if e.Serial, err = certs.SerialFromBytes(serial); err != nil {
				return nil, fmt.Errorf("entry %d of the revocation log is damaged: %w", sequence, err)
			}
			e.NotAfter = fromUnix(notAfter)
		}
		entries = append(entries, e)
	}
	return entries, rows.Err()
}

// AppendPublished implements revocation.Log.
func (s *Store) AppendPublished(ctx context.Context, issuer string, at time.Time) (uint64, error) {
	return write(ctx, s, 0, func(t *tx) (uint64, error) {
		id, err := t.issuerID(issuer)
		if err != nil {
			return 0, err
		}
		sequence, err := t.inserted(insertEntry, int64(revocation.Published), id, nil, 0, at.Unix(), 0, "")
		return uint64(sequence), err
	})
}

// Issued implements revocation.Log.
func (s *Store) Issued(ctx context.Context, issuer string, serial certs.Serial) (bool, error) {
	keyID, err := hex.DecodeString(issuer)
	if err != nil {
		return false, fmt.Errorf("issuer %q is not a key identifier in hexadecimal", issuer)
	}
	var one int
	err = reader{ctx, s}.queryRow(selectIssued, serial.Bytes(), keyID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Revoke implements ca.Ledger.
func (s *Store) Revoke(ctx context.Context, selection ca.RevokeSelection, reason certs.Reason, at time.Time, by string, dryRun bool) (ca.RevokeOutcome, error) {
	return write(ctx, s, onCertificates, func(t *tx) (ca.RevokeOutcome, error) {
		r := revoker{t: t, kind: revocation.KindOf(reason), reason: reason, at: at, by: by, dryRun: dryRun}
		if err := r.selected(selection); err != nil {
			return ca.RevokeOutcome{}, err
		}
		if dryRun {
			return r.outcome, errRollBack
		}
		return r.outcome, nil
	})
}
