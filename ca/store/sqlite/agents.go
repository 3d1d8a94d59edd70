package sqlite

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
)

// SaveAgents implements ca.AgentRecords.
func (s *Store) SaveAgents(ctx context.Context, list []ca.AgentRow) error {
	_, err := write(ctx, s, 0, func(t *tx) (struct{}, error) {
		for _, row := range list {
			if err := saveAgent(t, row); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	return err
}

func saveAgent(t *tx, row ca.AgentRow) error {
	issuer, err := hex.DecodeString(row.Issuer)
	if err != nil {
		return fmt.Errorf("issuer %q is not a key identifier in hexadecimal", row.Issuer)
	}
	stopped := int64(0)
	if row.Stopped {
		stopped = 1
	}
	return t.exec(`INSERT INTO agents (service, id, issuer, serial, not_after, version, address, enforced, enforced_at, silent, stopped)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
		ON CONFLICT (service, id) DO UPDATE SET issuer = ?3, serial = ?4, not_after = ?5, version = ?6, address = ?7,
			enforced = ?8, enforced_at = ?9, silent = ?10, stopped = ?11`,
		row.Service, row.ID, issuer, row.Serial.Bytes(), row.NotAfter.Unix(), row.Version, row.Address,
		int64(row.Sequence), toMillis(row.EnforcedAt), toMillis(row.SilentSince), stopped)
}

// Agents implements ca.AgentRecords.
func (s *Store) Agents(ctx context.Context) ([]ca.AgentRow, error) {
	rows, err := reader{ctx, s}.query(`SELECT service, id, issuer, serial, not_after, version, address, enforced, enforced_at, silent, stopped
		FROM agents ORDER BY service, id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	list := []ca.AgentRow{}
	for rows.Next() {
		row, err := scanAgent(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

func scanAgent(from scanner) (ca.AgentRow, error) {
	var row ca.AgentRow
	var issuer, serial []byte
	var notAfter, enforced, enforcedAt, silent, stopped int64
	err := from.Scan(&row.Service, &row.ID, &issuer, &serial, &notAfter, &row.Version, &row.Address, &enforced, &enforcedAt, &silent, &stopped)
	if err != nil {
		return ca.AgentRow{}, err
	}
	if row.Serial, err = certs.SerialFromBytes(serial); err != nil {
		return ca.AgentRow{}, fmt.Errorf("agent %s of %s is damaged: %w", row.ID, row.Service, err)
	}
	row.Issuer, row.NotAfter, row.Sequence = hex.EncodeToString(issuer), fromUnix(notAfter), uint64(enforced)
	row.EnforcedAt, row.SilentSince, row.Stopped = fromMillis(enforcedAt), fromMillis(silent), stopped != 0
	return row, nil
}

// toMillis keeps the zero time apart from 1970.
func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(millis int64) time.Time {
	if millis == 0 {
		return time.Time{}
	}
	return time.UnixMilli(millis).UTC()
}
