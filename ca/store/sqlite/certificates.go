package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
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
	c.not_before, c.not_after, c.issued_at, c.der, t.der, l.seq, l.kind, l.reason, l.at `
	certificateTables = `FROM certificates c
	JOIN subjects s ON s.id = c.subject
	JOIN issuers i ON i.id = c.issuer
	LEFT JOIN templates t ON t.id = c.template
	LEFT JOIN log l ON l.seq = (SELECT max(seq) FROM log WHERE serial = c.serial) `
	selectCertificates = certificateColumns + certificateTables
	selectBySerial     = selectCertificates + "WHERE c.serial = ?"
	selectBySeq        = selectCertificates + "WHERE c.seq = ?"
	// The second key is that of before keys had places.
	selectReplay = `SELECT d.digest, d.certificate FROM (
		SELECT key, digest, certificate FROM idempotency WHERE key = ?1
		UNION ALL SELECT key, digest, certificate FROM idempotency_before WHERE key = ?2
	) d JOIN certificates c ON c.seq = d.certificate`
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
	var serial, keyID, template []byte
	var kind, method, spiffeID string
	var by sql.NullString
	var notBefore, notAfter, issuedAt int64
	var logSeq, logKind, reason, at sql.NullInt64
	err := from.Scan(&r.seq, &serial, &kind, &r.Name, &spiffeID, &keyID, &r.Profile, &method, &by,
		&notBefore, &notAfter, &issuedAt, &r.DER, &template, &logSeq, &logKind, &reason, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return row{}, ca.ErrNotFound
	}
	if err != nil {
		return row{}, err
	}
	if r.Serial, err = certs.SerialFromBytes(serial); err != nil {
		return row{}, fmt.Errorf("certificate %d is damaged: %w", r.seq, err)
	}
	if template != nil {
		if r.DER, err = unpack(template, r.DER); err != nil {
			return row{}, fmt.Errorf("certificate %d is damaged: %w", r.seq, err)
		}
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

// Certificate implements ca.Ledger.
func (s *Store) Certificate(ctx context.Context, serial certs.Serial) (ca.Certificate, error) {
	if err := s.readers.usable(ctx); err != nil {
		return ca.Certificate{}, err
	}
	r, err := recall(s.memory, s.memory.certificates, maxCertificates, serial, func() (row, error) {
		return certificateBySerial(reader{ctx, s}, serial)
	})
	return r.Certificate, err
}

func certificateBySerial(q querier, serial certs.Serial) (row, error) {
	return scanCertificate(q.queryRow(selectBySerial, serial.Bytes()))
}

// Replay implements ca.Ledger.
func (s *Store) Replay(ctx context.Context, key string, digest [32]byte) (ca.Certificate, error) {
	return replay(reader{ctx, s}, key, digest)
}

// replay forgets a key whose certificate was purged.
func replay(q querier, key string, digest [32]byte) (ca.Certificate, error) {
	var known []byte
	var seq int64
	err := q.queryRow(selectReplay, placed(key), unplaced(key)).Scan(&known, &seq)
	if errors.Is(err, sql.ErrNoRows) {
		return ca.Certificate{}, ca.ErrNotFound
	}
	if err != nil {
		return ca.Certificate{}, err
	}
	if string(known) != string(digest[:hashSize]) {
		return ca.Certificate{}, ca.ErrKeyReused
	}
	r, err := scanCertificate(q.queryRow(selectBySeq, seq))
	return r.Certificate, err
}

// hashSize is in octets.
const hashSize = 16

// placed stands for an id or a key that others chose: it sorts by its place.
func placed(id string) []byte {
	place, rest := ca.PlaceOf(id)
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+hashSize), place), hashed(rest)...)
}

// unplaced is what stood for id before there were places.
func unplaced(id string) []byte {
	_, rest := ca.PlaceOf(id)
	return hashed(rest)
}

func hashed(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:hashSize]
}

func fromUnix(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
