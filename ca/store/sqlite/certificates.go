package sqlite

import (
	"context"
	"crypto/sha256"
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
	certificateColumns = `SELECT c.seq, c.serial, s.kind, s.name, s.spiffe_id, i.key_id, c.profile, c.method, c.asked_by,
	c.not_before, c.not_after, c.issued_at, c.der, l.seq, l.kind, l.reason, l.at `
	certificateTables = `FROM certificates c
	JOIN subjects s ON s.id = c.subject
	JOIN issuers i ON i.id = c.issuer
	LEFT JOIN log l ON l.seq = (SELECT max(seq) FROM log WHERE serial = c.serial) `
	selectCertificates = certificateColumns + certificateTables
	selectBySerial     = selectCertificates + "WHERE c.serial = ?"
	selectBySeq        = selectCertificates + "WHERE c.seq = ?"
	selectReplay       = "SELECT d.digest, d.certificate FROM idempotency d JOIN certificates c ON c.seq = d.certificate WHERE d.key = ?"
)

// row is a certificate, its place in the order of issuance, and the log's newest entry
// about it, which may be a release.
type row struct {
	seq  int64
	last revocation.Entry
	ca.Certificate
}

// scanner is *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func scanCertificate(from scanner) (row, error) {
	var r row
	var serial, keyID []byte
	var kind, method, spiffeID string
	var by sql.NullString
	var notBefore, notAfter, issuedAt int64
	var logSeq, logKind, reason, at sql.NullInt64
	err := from.Scan(&r.seq, &serial, &kind, &r.Name, &spiffeID, &keyID, &r.Profile, &method, &by,
		&notBefore, &notAfter, &issuedAt, &r.DER, &logSeq, &logKind, &reason, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return row{}, ca.ErrNotFound
	}
	if err != nil {
		return row{}, err
	}
	if r.Serial, err = certs.SerialFromBytes(serial); err != nil {
		return row{}, fmt.Errorf("certificate %d is damaged: %w", r.seq, err)
	}
	if err := r.ID.UnmarshalText([]byte(spiffeID)); err != nil {
		return row{}, fmt.Errorf("certificate %d is damaged: %w", r.seq, err)
	}
	r.Kind, r.Method, r.Issuer, r.By = ca.Kind(kind), ca.Method(method), hex.EncodeToString(keyID), spiffeID
	if by.Valid {
		r.By = by.String
	}
	r.NotBefore, r.NotAfter, r.IssuedAt = fromUnix(notBefore), fromUnix(notAfter), fromUnix(issuedAt)
	if logSeq.Valid {
		r.last = revocation.Entry{
			Sequence: uint64(logSeq.Int64), Kind: revocation.Kind(logKind.Int64), Issuer: r.Issuer, Serial: r.Serial,
			Reason: certs.Reason(reason.Int64), At: fromUnix(at.Int64), NotAfter: r.NotAfter,
		}
		r.Revocation = refusing(r.last)
	}
	return r, nil
}

func certificateBySerial(q querier, serial certs.Serial) (row, error) {
	return scanCertificate(q.queryRow(selectBySerial, serial.Bytes()))
}

// Certificate implements ca.Ledger.
func (s *Store) Certificate(ctx context.Context, serial certs.Serial) (ca.Certificate, error) {
	r, err := certificateBySerial(reader{ctx, s}, serial)
	return r.Certificate, err
}

// Replay implements ca.Ledger.
func (s *Store) Replay(ctx context.Context, key string, digest [32]byte) (ca.Certificate, error) {
	return replay(reader{ctx, s}, key, digest)
}

// replay forgets a key whose certificate was purged.
func replay(q querier, key string, digest [32]byte) (ca.Certificate, error) {
	var known []byte
	var seq int64
	err := q.queryRow(selectReplay, hashed(key)).Scan(&known, &seq)
	if errors.Is(err, sql.ErrNoRows) {
		return ca.Certificate{}, ca.ErrNotFound
	}
	if err != nil {
		return ca.Certificate{}, err
	}
	if string(known) != string(digest[:]) {
		return ca.Certificate{}, ca.ErrKeyReused
	}
	r, err := scanCertificate(q.queryRow(selectBySeq, seq))
	return r.Certificate, err
}

type recorded struct {
	certificate ca.Certificate
	replayed    bool
}

// RecordIssuance implements ca.Ledger.
func (s *Store) RecordIssuance(ctx context.Context, issuance ca.Issuance) (ca.Certificate, bool, error) {
	result, err := write(ctx, s, func(t *tx) (recorded, error) { return recordIssuance(t, issuance) })
	return result.certificate, result.replayed, err
}

func recordIssuance(t *tx, issuance ca.Issuance) (recorded, error) {
	if key := issuance.Idempotency; key != nil {
		first, err := replay(t, key.Key, key.Digest)
		if err == nil {
			return recorded{first, true}, nil
		}
		if !errors.Is(err, ca.ErrNotFound) {
			return recorded{}, err
		}
	}
	if err := checkGuard(t, issuance.Guard); err != nil {
		return recorded{}, err
	}
	if used := issuance.OneTime; used != nil {
		n, err := t.changed("INSERT INTO one_time (id, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING", hashed(used.ID), used.ExpiresAt.Unix())
		if err != nil {
			return recorded{}, err
		}
		if n == 0 {
			return recorded{}, ca.ErrTokenUsed
		}
	}
	seq, err := insertCertificate(t, issuance.Certificate)
	if err != nil {
		return recorded{}, err
	}
	if key := issuance.Idempotency; key != nil {
		err = t.exec("INSERT OR REPLACE INTO idempotency (key, digest, certificate, expires_at) VALUES (?, ?, ?, ?)",
			hashed(key.Key), key.Digest[:], seq, key.ExpiresAt.Unix())
	}
	return recorded{issuance.Certificate, false}, err
}

// checkGuard looks again, where nothing can change any more before the commit.
func checkGuard(t *tx, guard ca.Guard) error {
	if !guard.Serial.IsZero() {
		asking, err := certificateBySerial(t, guard.Serial)
		if err != nil {
			return err
		}
		switch asking.last.Kind {
		case revocation.Revoked:
			return ca.ErrRevoked
		case revocation.Held:
			return ca.ErrHeld
		}
	}
	if guard.Key != [32]byte{} {
		compromised, err := t.exists("SELECT 1 FROM compromised_keys WHERE digest = ?", guard.Key[:])
		if err != nil {
			return err
		}
		if compromised {
			return ca.ErrKeyCompromised
		}
	}
	if guard.Service != "" {
		ok, err := t.exists("SELECT 1 FROM services WHERE name = ? AND version = ?", guard.Service, int64(guard.ServiceVersion))
		if err != nil {
			return err
		}
		if !ok {
			return ca.ErrConflict
		}
	}
	if guard.Operator != "" {
		ok, err := t.exists("SELECT 1 FROM operators WHERE name = ?", guard.Operator)
		if err != nil {
			return err
		}
		if !ok {
			return ca.ErrConflict
		}
	}
	return nil
}

func insertCertificate(t *tx, c ca.Certificate) (int64, error) {
	issuer, err := t.issuerID(c.Issuer)
	if err != nil {
		return 0, err
	}
	subject, err := t.subjectID(string(c.Kind), c.Name, c.ID.String())
	if err != nil {
		return 0, err
	}
	by := sql.NullString{String: c.By, Valid: c.By != c.ID.String()}
	result, err := t.execResult(`INSERT INTO certificates (serial, subject, issuer, profile, method, asked_by, not_before, not_after, issued_at, der)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (serial) DO NOTHING`,
		c.Serial.Bytes(), subject, issuer, c.Profile, string(c.Method), by, c.NotBefore.Unix(), c.NotAfter.Unix(), c.IssuedAt.Unix(), c.DER)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, ca.ErrSerialExists
	}
	return result.LastInsertId()
}

// hashed stands for an id or a key that others chose.
func hashed(id string) []byte {
	sum := sha256.Sum256([]byte(id))
	return sum[:]
}

func fromUnix(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
