package sqlite

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"
)

// countSigned leaves out what is revoked or on hold: the last entry about a certificate is its state.
const countSigned = `SELECT count(*) FROM certificates c
	LEFT JOIN log l ON l.seq = (SELECT max(seq) FROM log WHERE serial = c.serial)
	WHERE c.issuer = (SELECT id FROM issuers WHERE key_id = ?) AND c.not_after >= ? AND (l.kind IS NULL OR l.kind = 4)`

// Signed implements ca.Ledger.
func (s *Store) Signed(ctx context.Context, issuer string, expiresAfter time.Time) (int, error) {
	keyID, err := hex.DecodeString(issuer)
	if err != nil {
		return 0, fmt.Errorf("issuer %q is not a key identifier in hexadecimal", issuer)
	}
	n := 0
	err = reader{ctx, s}.queryRow(countSigned, keyID, expiresAfter.Unix()).Scan(&n)
	return n, err
}
