package sqlite

import (
	"errors"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

// revoker appends to the log and collects the outcome.
type revoker struct {
	t       *tx
	kind    revocation.Kind // what it does: revoke, hold or release
	reason  certs.Reason
	at      time.Time
	by      string
	dryRun  bool
	outcome ca.RevokeOutcome
}

func (r *revoker) selected(selection ca.RevokeSelection) error {
	named := 0
	for _, given := range []bool{!selection.Serial.IsZero(), selection.Service != "", selection.Operator != "", selection.AllServices} {
		if given {
			named++
		}
	}
	if named != 1 {
		return errors.New("revoke: name exactly one of serial, service, operator and all services")
	}
	if !selection.Serial.IsZero() {
		return r.serial(selection)
	}
	return r.several(selection)
}

// serial is about one certificate: what cannot be done is an error.
func (r *revoker) serial(selection ca.RevokeSelection) error {
	found, err := certificateBySerial(r.t, selection.Serial)
	if errors.Is(err, ca.ErrNotFound) && selection.Record != nil {
		if selection.Record.Serial != selection.Serial {
			return errors.New("revoke: the certificate to record has another serial")
		}
		if _, err := insertCertificate(r.t, selection.Record); err != nil {
			return err
		}
		found, err = certificateBySerial(r.t, selection.Serial)
	}
	if err != nil {
		return err
	}
	switch {
	case r.kind != revocation.Revoked && found.last.Kind == revocation.Revoked:
		return ca.ErrRevoked
	case r.kind == revocation.Released && found.last.Sequence == 0:
		return ca.ErrNotHeld
	}
	return r.one(found)
}

// several goes through what is live in the order of issuance. The places are read first:
// appending to the log while its join is being read would be to saw at the branch.
func (r *revoker) several(selection ca.RevokeSelection) error {
	places, err := r.places(selection)
	if err != nil {
		return err
	}
	for _, seq := range places {
		found, err := scanCertificate(r.t.queryRow(selectBySeq, seq))
		if err != nil {
			return err
		}
		if err := r.one(found); err != nil {
			return err
		}
	}
	return nil
}

func (r *revoker) places(selection ca.RevokeSelection) ([]int64, error) {
	text, args := "SELECT seq FROM certificates WHERE not_after >= ?", []any{selection.ExpiresAfter.Unix()}
	switch {
	case selection.AllServices:
		text += " AND subject IN (SELECT id FROM subjects WHERE kind = ?)"
		args = append(args, string(ca.KindService))
	case selection.Service != "":
		text += " AND subject IN (SELECT id FROM subjects WHERE kind = ? AND name = ?)"
		args = append(args, string(ca.KindService), selection.Service)
	default:
		text += " AND subject IN (SELECT id FROM subjects WHERE kind = ? AND name = ?)"
		args = append(args, string(ca.KindOperator), selection.Operator)
	}
	if !selection.IssuedBefore.IsZero() {
		text += " AND issued_at < ?"
		args = append(args, selection.IssuedBefore.Unix())
	}
	if r.kind == revocation.Released {
		text += " AND serial IN (SELECT serial FROM log WHERE kind = 3)"
	}
	rows, err := r.t.query(text+" ORDER BY seq", args...)
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

// changes reports whether an entry of kind changes the state that last left; the zero
// Entry is that of a certificate about which nothing was ever said.
func changes(kind revocation.Kind, last revocation.Entry) bool {
	switch kind {
	case revocation.Held:
		return last.Kind != revocation.Held && last.Kind != revocation.Revoked
	case revocation.Released:
		return last.Kind == revocation.Held
	default:
		return last.Kind != revocation.Revoked
	}
}

func (r *revoker) one(found row) error {
	c := found.Certificate
	if err := r.rememberKey(c); err != nil {
		return err
	}
	if !changes(r.kind, found.last) {
		r.outcome.Sequence = max(r.outcome.Sequence, found.last.Sequence)
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
		c.Revocation = refusing(*entry)
		r.outcome.Sequence = max(r.outcome.Sequence, entry.Sequence)
	}
	r.outcome.Total++
	if len(r.outcome.Revoked) < ca.MaxOutcome {
		r.outcome.Revoked = append(r.outcome.Revoked, c)
	}
	return nil
}

// rememberKey keeps a compromised key from coming back, also that of a certificate which
// was revoked for another reason before.
func (r *revoker) rememberKey(c ca.Certificate) error {
	if r.reason != certs.KeyCompromise || r.dryRun {
		return nil
	}
	digest, ok := ca.KeyDigest(c.DER)
	if !ok {
		return nil
	}
	return r.t.exec("INSERT INTO compromised_keys (digest) VALUES (?) ON CONFLICT DO NOTHING", digest[:])
}

func (r *revoker) appendEntry(c ca.Certificate) (*revocation.Entry, error) {
	issuer, err := r.t.issuerID(c.Issuer)
	if err != nil {
		return nil, err
	}
	sequence, err := r.t.inserted(insertEntry, int64(r.kind), issuer, c.Serial.Bytes(), int(r.reason), r.at.Unix(), c.NotAfter.Unix(), r.by)
	if err != nil {
		return nil, err
	}
	return &revocation.Entry{
		Sequence: uint64(sequence), Kind: r.kind, Issuer: c.Issuer, Serial: c.Serial,
		Reason: r.reason, At: fromUnix(r.at.Unix()), NotAfter: c.NotAfter,
	}, nil
}

// refusing is what a row shows of its newest entry: nothing once it was released.
func refusing(last revocation.Entry) *revocation.Entry {
	if last.Kind == revocation.Revoked || last.Kind == revocation.Held {
		return &last
	}
	return nil
}
