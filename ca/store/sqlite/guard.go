package sqlite

import (
	"database/sql"
	"errors"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

// checkGuard looks again, where nothing can change any more before the commit. What is
// remembered is good enough there: it is the state as of the last commit, the transaction
// has the lock of writing, and what it has touched itself is read.
func checkGuard(t *tx, guard ca.Guard) error {
	if !guard.Serial.IsZero() {
		if err := checkAsking(t, guard.Serial); err != nil {
			return err
		}
	}
	if guard.Key != [32]byte{} {
		if err := checkCompromised(t, guard.Key[:]); err != nil {
			return err
		}
	}
	if guard.Service != "" {
		if err := checkService(t, guard.Service, guard.ServiceVersion); err != nil {
			return err
		}
	}
	if guard.Operator != "" {
		return required(t.exists("SELECT 1 FROM operators WHERE name = ?", guard.Operator))
	}
	return nil
}

func required(there bool, err error) error {
	if err == nil && !there {
		err = ca.ErrConflict
	}
	return err
}

func checkAsking(t *tx, serial certs.Serial) error {
	last, known := t.lastEntry(serial)
	if !known {
		// 0 is no kind: nothing was ever said about it.
		err := t.queryRow(`SELECT coalesce((SELECT kind FROM log WHERE serial = ?1 ORDER BY seq DESC LIMIT 1), 0)
			FROM certificates WHERE serial = ?1`, serial.Bytes()).Scan(&last)
		if errors.Is(err, sql.ErrNoRows) {
			return ca.ErrNotFound
		}
		if err != nil {
			return err
		}
	}
	switch revocation.Kind(last) {
	case revocation.Revoked:
		return ca.ErrRevoked
	case revocation.Held:
		return ca.ErrHeld
	default:
		return nil
	}
}

// lastEntry is the kind of the log's newest entry about a certificate that is remembered.
func (t *tx) lastEntry(serial certs.Serial) (int64, bool) {
	if t.touched&(onCertificates|onPurged) != 0 {
		return 0, false
	}
	r, ok := t.memory.certificate(serial)
	return int64(r.last.Kind), ok
}

func checkCompromised(t *tx, digest []byte) error {
	if err := t.ask(); err != nil || t.known.clean {
		return err
	}
	compromised, err := t.exists("SELECT 1 FROM compromised_keys WHERE digest = ?", digest)
	if err == nil && compromised {
		err = ca.ErrKeyCompromised
	}
	return err
}

func checkService(t *tx, name string, version uint64) error {
	if t.touched&onServices == 0 {
		if s, ok := t.memory.service(name); ok {
			return required(s.Version == version, nil)
		}
	}
	return required(t.exists("SELECT 1 FROM services WHERE name = ? AND version = ?", name, int64(version)))
}
