package sqlite

import (
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/mattn/go-sqlite3"

	"github.com/handfast/handfast/ca"
)

// issuance is a change that can be recorded together with others.
type issuance struct {
	ca.Issuance
	first *ca.Certificate // of a repetition: the answer, from before
}

// recordTogether records issuances by a handful of statements instead of ten for each, and
// without a savepoint, for which SQLite would copy every page. Where the idempotency key, the
// one-time id or the serial of one is taken, the unique constraints end the transaction, and
// the answer is errContested.
func recordTogether(t *tx, changes []*change) error {
	if err := t.ask(); err != nil {
		return err
	}
	var group, alone []*change
	for _, c := range changes {
		if c.err = c.ctx.Err(); c.err != nil {
			continue
		}
		if err := checkGuard(t, c.issuance.Guard); err == nil && !t.known.before {
			group = append(group, c)
		} else if losesTransaction(err) {
			return err
		} else {
			alone = append(alone, c)
		}
	}
	for len(group) > 0 {
		n := 1
		for 2*n <= min(len(group), maxTogether) {
			n *= 2
		}
		if err := insertTogether(t, group[:n]); err != nil {
			return err
		}
		group = group[n:]
	}
	// A guard refuses these, but a repetition would be answered all the same; or there are ids of
	// before, which the constraints know nothing of.
	for _, c := range alone {
		if err := applyOne(t, c); err != nil {
			return err
		}
	}
	return nil
}

// maxTogether is a power of two, like every number of rows in a statement: few texts, all prepared.
const maxTogether = 64

// into is a table with the columns that issuing fills.
type into struct {
	table   string
	columns int
}

var (
	intoCertificates = into{"certificates (seq, serial, subject, issuer, profile, method, asked_by, not_before, not_after, issued_at, template, der)", 12}
	intoOneTime      = into{"one_time (id, expires_at)", 2}
	intoIdempotency  = into{"idempotency (key, digest, certificate, expires_at)", 4}
)

// text is OR ROLLBACK because a statement that may be undone alone needs a journal of its own.
func (i into) text(rows int) string {
	row := "(?" + strings.Repeat(",?", i.columns-1) + ")"
	return "INSERT OR ROLLBACK INTO " + i.table + " VALUES " + row + strings.Repeat(","+row, rows-1)
}

// values collects the arguments of one statement.
type values []driver.NamedValue

func (v *values) add(row ...any) {
	for _, value := range row {
		*v = append(*v, driver.NamedValue{Ordinal: len(*v) + 1, Value: value})
	}
}

// sheets are what a statement of many rows is filled from. They are used again for each commit: as many values as
// there are would else be made anew.
type sheets struct{ certificates, ids, keys values }

// empty also lets go of what the values hold.
func (s *sheets) empty() {
	for _, v := range []*values{&s.certificates, &s.ids, &s.keys} {
		clear(*v)
		*v = (*v)[:0]
	}
}

func insertTogether(t *tx, group []*change) error {
	s := &t.sheets
	defer s.empty()
	for _, c := range group {
		row, seq, err := certificateRow(t, &c.issuance.Certificate)
		if err != nil {
			return err
		}
		s.certificates.add(row[:]...)
		if used := c.issuance.OneTime; used != nil {
			s.ids.add(placed(used.ID), used.ExpiresAt.Unix())
		}
		if key := c.issuance.Idempotency; key != nil {
			s.keys.add(placed(key.Key), key.Digest[:hashSize], seq, key.ExpiresAt.Unix())
		}
	}
	for _, part := range []struct {
		into
		values
	}{{intoCertificates, s.certificates}, {intoOneTime, s.ids}, {intoIdempotency, s.keys}} {
		if err := insert(t, part.into, part.values); err != nil {
			return err
		}
	}
	return nil
}

// insert splits rows into statements of a power of two each.
func insert(t *tx, table into, all values) error {
	for len(all) > 0 {
		n := 1
		for 2*n*table.columns <= len(all) {
			n *= 2
		}
		part := all[:n*table.columns]
		for i := range part {
			part[i].Ordinal = i + 1
		}
		err := t.run(t.known.text(table, n), part)
		if code, ok := sqliteCode(err); ok && code == sqlite3.ErrConstraint {
			return errContested
		}
		if err != nil {
			return fmt.Errorf("insert into %.20s: %w", table.table, err)
		}
		all = all[len(part):]
	}
	return nil
}

// certificateRow is in the order of intoCertificates.
func certificateRow(t *tx, c *ca.Certificate) (row [12]any, seq int64, err error) {
	issuer, err := t.issuerID(c.Issuer)
	if err != nil {
		return row, 0, err
	}
	id := c.ID.String()
	subject, err := t.subjectID(subject{string(c.Kind), c.Name, id})
	if err != nil {
		return row, 0, err
	}
	var by any
	if c.By != id {
		by = c.By
	}
	template, der, err := t.packed(issuer, c.Profile, c.DER)
	if err != nil {
		return row, 0, err
	}
	seq, err = t.nextSeq()
	return [...]any{
		seq, c.Serial.Bytes(), subject, issuer, c.Profile, string(c.Method), by,
		c.NotBefore.Unix(), c.NotAfter.Unix(), c.IssuedAt.Unix(), template, der,
	}, seq, err
}
