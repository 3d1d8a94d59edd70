package sqlite

import (
	"context"
	"errors"

	"github.com/handfast/handfast/ca"
)

// RecordIssuance implements ca.Ledger.
func (s *Store) RecordIssuance(ctx context.Context, asked ca.Issuance) (ca.Certificate, bool, error) {
	i := &issuance{Issuance: asked}
	c := &change{ctx: ctx, issuance: i}
	c.apply = func(t *tx) (err error) {
		i.first, err = recordIssuance(t, &i.Issuance)
		return err
	}
	if err := s.writer.commitOf(c); err != nil {
		return ca.Certificate{}, false, err
	}
	if i.first != nil {
		return *i.first, true, nil
	}
	return asked.Certificate, false, nil
}

// recordIssuance records one, where recordTogether could not. It returns the first certificate for a repetition, and
// else nil.
func recordIssuance(t *tx, issuance *ca.Issuance) (*ca.Certificate, error) {
	if key := issuance.Idempotency; key != nil {
		first, err := replay(t, key.Key, key.Digest)
		if err == nil {
			return &first, nil
		}
		if !errors.Is(err, ca.ErrNotFound) {
			return nil, err
		}
	}
	if err := checkGuard(t, issuance.Guard); err != nil {
		return nil, err
	}
	if used := issuance.OneTime; used != nil {
		n, err := t.changed(useOnce, placed(used.ID), used.ExpiresAt.Unix(), unplaced(used.ID))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, ca.ErrTokenUsed
		}
	}
	seq, err := insertCertificate(t, &issuance.Certificate)
	if err != nil {
		return nil, err
	}
	if key := issuance.Idempotency; key != nil {
		err = t.exec("INSERT OR REPLACE INTO idempotency (key, digest, certificate, expires_at) VALUES (?, ?, ?, ?)",
			placed(key.Key), key.Digest[:hashSize], seq, key.ExpiresAt.Unix())
	}
	return nil, err
}

// useOnce also looks at what was used before ids had places.
const useOnce = `INSERT INTO one_time (id, expires_at) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM one_time_before WHERE id = ?3)
	ON CONFLICT DO NOTHING`

const insertOne = `INSERT INTO certificates (seq, serial, subject, issuer, profile, method, asked_by, not_before, not_after, issued_at, template, der)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (serial) DO NOTHING`

func insertCertificate(t *tx, c *ca.Certificate) (int64, error) {
	row, seq, err := certificateRow(t, c)
	if err != nil {
		return 0, err
	}
	n, err := t.changed(insertOne, row[:]...)
	if err == nil && n == 0 {
		err = ca.ErrSerialExists
	}
	return seq, err
}
