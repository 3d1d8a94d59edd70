package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
)

// Certificates implements ca.Ledger. The cursor is the last row's place.
func (s *Store) Certificates(ctx context.Context, query ca.CertificateQuery) ([]ca.Certificate, string, error) {
	before := int64(math.MaxInt64)
	if query.Cursor != "" {
		var err error
		if before, err = strconv.ParseInt(query.Cursor, 10, 64); err != nil || before <= 0 {
			return nil, "", ca.ErrBadCursor
		}
	}
	text, args := listing(query, before)
	rows, err := reader{ctx, s}.query(text, args...)
	if err != nil {
		return nil, "", err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	page := []ca.Certificate{}
	var last int64
	for rows.Next() {
		r, err := scanCertificate(rows)
		if err != nil {
			return nil, "", err
		}
		if len(page) == query.Limit {
			return page, strconv.FormatInt(last, 10), nil
		}
		page, last = append(page, r.Certificate), r.seq
	}
	return page, "", rows.Err()
}

const (
	notRefused = "(l.seq IS NULL OR l.kind = 4)"
	stillHeld  = "l.kind = 3 AND l.seq = (SELECT max(seq) FROM log WHERE serial = l.serial)"
)

// listing asks for one row more than the page holds: whether it is there says whether
// another page follows. Where few rows can match, it begins at them and not at the newest row.
func listing(query ca.CertificateQuery, before int64) (string, []any) {
	from := selectCertificates
	if query.Status == ca.StatusRevoked || query.Status == ca.StatusHeld {
		from = certificateColumns + `FROM log l
	CROSS JOIN certificates c ON c.serial = l.serial
	JOIN subjects s ON s.id = c.subject
	JOIN issuers i ON i.id = c.issuer
	LEFT JOIN templates t ON t.id = c.template `
	}
	conditions, args := []string{"c.seq < ?"}, []any{before}
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	now := query.Now.Unix()
	switch query.Status {
	case ca.StatusValid:
		add("c.not_after >= ? AND "+notRefused, now)
	case ca.StatusExpired:
		add("c.not_after < ? AND "+notRefused, now)
	case ca.StatusRevoked:
		add("l.kind = 1")
	case ca.StatusHeld:
		add(stillHeld)
	}
	if !query.ExpiresBefore.IsZero() {
		add("c.not_after < ?", query.ExpiresBefore.Unix())
	}
	subjects, values := subjectsOf(query)
	if subjects != "" {
		add("c.subject IN (SELECT id FROM subjects WHERE "+subjects+")", values...)
	}
	if query.Search != "" {
		condition, values := search(query.Search)
		add(condition, values...)
	}
	return from + "WHERE " + strings.Join(conditions, " AND ") + " ORDER BY c.seq DESC LIMIT ?", append(args, query.Limit+1)
}

func subjectsOf(query ca.CertificateQuery) (string, []any) {
	var conditions []string
	var args []any
	if query.Name != "" {
		conditions, args = append(conditions, "name = ?"), append(args, query.Name)
	}
	if query.Kind != "" {
		conditions, args = append(conditions, "kind = ?"), append(args, string(query.Kind))
	}
	return strings.Join(conditions, " AND "), args
}

// search is for a part of a name or, when it is hexadecimal, the beginning of a serial.
func search(text string) (string, []any) {
	condition, args := "c.subject IN (SELECT id FROM subjects WHERE instr(name, ?) > 0)", []any{text}
	low, high, ok := serialRange(text)
	if !ok {
		return condition, args
	}
	return "(" + condition + " OR c.serial BETWEEN ? AND ?)", append(args, low, high)
}

// serialRange returns the least and the greatest serial of full length that begins with these digits.
func serialRange(text string) (low, high []byte, ok bool) {
	const digits = 2 * certs.MaxSerialOctets
	text = strings.ReplaceAll(text, ":", "")
	if text == "" || len(text) > digits {
		return nil, nil, false
	}
	lowest, err := certs.ParseSerial(text + strings.Repeat("0", digits-len(text)))
	if err != nil {
		return nil, nil, false
	}
	highest, err := certs.ParseSerial(text + strings.Repeat("f", digits-len(text)))
	if err != nil {
		return nil, nil, false
	}
	return lowest.Bytes(), highest.Bytes(), true
}

// Counts implements ca.Ledger. Revoked and Held count what has not expired.
func (s *Store) Counts(ctx context.Context, now time.Time) (ca.Counts, error) {
	var counts ca.Counts
	var current int
	err := reader{ctx, s}.queryRow(`SELECT (SELECT count(*) FROM services),
		(SELECT count(*) FROM certificates WHERE not_after >= ?1),
		(SELECT count(*) FROM log WHERE serial IS NOT NULL AND kind = 1 AND not_after >= ?1),
		(SELECT count(*) FROM log l WHERE `+stillHeld+` AND not_after >= ?1)`, now.Unix()).Scan(&counts.Services, &current, &counts.Revoked, &counts.Held)
	counts.Live = current - counts.Revoked - counts.Held
	return counts, err
}

// Probe implements ca.Ledger.
func (s *Store) Probe(ctx context.Context) error {
	_, err := write(ctx, s, 0, func(t *tx) (struct{}, error) {
		n, err := t.changed("UPDATE probe SET count = count + 1, filler = randomblob(?) WHERE id = 1", 8*pageSize)
		if err == nil && n != 1 {
			err = errors.New("the probe's row is gone")
		}
		if err != nil {
			return struct{}{}, fmt.Errorf("probe: %w", err)
		}
		return struct{}{}, nil
	})
	return err
}
