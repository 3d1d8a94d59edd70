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
		var sequence, reason, at, notAfter int64
		var keyID, serial []byte
		if err := rows.Scan(&sequence, &e.Kind, &keyID, &serial, &reason, &at, &notAfter); err != nil {
			return nil, err
		}
		e.Sequence, e.Issuer, e.Reason, e.At = uint64(sequence), hex.EncodeToString(keyID), certs.Reason(reason), fromUnix(at)
		if e.Kind == revocation.Revoked {
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
	return write(ctx, s, func(t *tx) (uint64, error) {
		id, err := t.issuerID(issuer)
		if err != nil {
			return 0, err
		}
		sequence, err := t.inserted(insertEntry, revocation.Published, id, nil, 0, at.Unix(), 0, "")
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
	return write(ctx, s, func(t *tx) (ca.RevokeOutcome, error) {
		r := revoker{t: t, reason: reason, at: at, by: by, dryRun: dryRun}
		if err := r.selected(selection); err != nil {
			return ca.RevokeOutcome{}, err
		}
		if dryRun {
			return r.outcome, errRollBack
		}
		return r.outcome, nil
	})
}

// revoker appends to the log and collects the outcome.
type revoker struct {
	t       *tx
	reason  certs.Reason
	at      time.Time
	by      string
	dryRun  bool
	outcome ca.RevokeOutcome
}

func (r *revoker) selected(selection ca.RevokeSelection) error {
	switch {
	case !selection.Serial.IsZero() && selection.Service == "" && selection.Operator == "":
		return r.serial(selection)
	case selection.Serial.IsZero() && selection.Service != "" && selection.Operator == "":
		return r.subject(ca.KindService, selection.Service, selection.ExpiresAfter)
	case selection.Serial.IsZero() && selection.Service == "" && selection.Operator != "":
		return r.subject(ca.KindOperator, selection.Operator, selection.ExpiresAfter)
	default:
		return errors.New("revoke: name exactly one of serial, service and operator")
	}
}

func (r *revoker) serial(selection ca.RevokeSelection) error {
	found, err := certificateBySerial(r.t, selection.Serial)
	if errors.Is(err, ca.ErrNotFound) && selection.Record != nil {
		if selection.Record.Serial != selection.Serial {
			return errors.New("revoke: the certificate to record has another serial")
		}
		if _, err := insertCertificate(r.t, *selection.Record); err != nil {
			return err
		}
		found, err = certificateBySerial(r.t, selection.Serial)
	}
	if err != nil {
		return err
	}
	return r.one(found.Certificate)
}

// subject goes through what is live in the order of issuance. The places are read first:
// appending to the log while its join is being read would be to saw at the branch.
func (r *revoker) subject(kind ca.Kind, name string, expiresAfter time.Time) error {
	places, err := r.places(kind, name, expiresAfter)
	if err != nil {
		return err
	}
	for _, seq := range places {
		found, err := scanCertificate(r.t.queryRow(selectBySeq, seq))
		if err != nil {
			return err
		}
		if err := r.one(found.Certificate); err != nil {
			return err
		}
	}
	return nil
}

func (r *revoker) places(kind ca.Kind, name string, expiresAfter time.Time) ([]int64, error) {
	rows, err := r.t.query(`SELECT seq FROM certificates WHERE not_after >= ? AND subject IN (SELECT id FROM subjects WHERE kind = ? AND name = ?) ORDER BY seq`,
		expiresAfter.Unix(), string(kind), name)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	var places []int64
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return nil, err
		}
		places = append(places, seq)
	}
	return places, rows.Err()
}

func (r *revoker) one(c ca.Certificate) error {
	if c.Revocation != nil {
		r.outcome.Sequence = max(r.outcome.Sequence, c.Revocation.Sequence)
		if len(r.outcome.Already) < ca.MaxOutcome {
			r.outcome.Already = append(r.outcome.Already, c)
		}
		return nil
	}
	if !r.dryRun {
		entry, err := r.appendEntry(c)
		if err != nil {
			return err
		}
		c.Revocation = entry
		r.outcome.Sequence = max(r.outcome.Sequence, entry.Sequence)
	}
	r.outcome.Total++
	if len(r.outcome.Revoked) < ca.MaxOutcome {
		r.outcome.Revoked = append(r.outcome.Revoked, c)
	}
	return nil
}

func (r *revoker) appendEntry(c ca.Certificate) (*revocation.Entry, error) {
	issuer, err := r.t.issuerID(c.Issuer)
	if err != nil {
		return nil, err
	}
	sequence, err := r.t.inserted(insertEntry, revocation.Revoked, issuer, c.Serial.Bytes(), int(r.reason), r.at.Unix(), c.NotAfter.Unix(), r.by)
	if err != nil {
		return nil, err
	}
	return &revocation.Entry{
		Sequence: uint64(sequence), Kind: revocation.Revoked, Issuer: c.Issuer, Serial: c.Serial,
		Reason: r.reason, At: fromUnix(r.at.Unix()), NotAfter: c.NotAfter,
	}, nil
}
