package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/handfast/handfast/ca/home"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/revocation"
)

// ledgerBatch is how many entries of the log are read at once.
const ledgerBatch = 4096

// revokedByLedger is what the log says of certificates that the issuer with this key id, the
// root, has signed. Without a ledger, as where the keys are kept apart, there is none.
func (env *environment) revokedByLedger(ctx context.Context, dir home.Dir, issuerID string) (revoked []x509.RevocationListEntry, err error) {
	if _, err := os.Stat(dir.Ledger()); errors.Is(err, fs.ErrNotExist) {
		// Nobody reads a note's error: the exit code says that the CRL was made.
		fmt.Fprintf(env.stderr, "handfast-ca: there is no %s, so the CRL does not list what handfast revoke --issuer revoked since the last one\n", dir.Ledger()) //nolint:errcheck // see above
		return nil, nil
	}
	store, err := sqlite.Open(ctx, dir.Ledger(), sqlite.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for last := uint64(0); ; {
		entries, err := store.Entries(ctx, last, ledgerBatch)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			last = e.Sequence
			if e.Issuer == issuerID && e.Kind == revocation.Revoked {
				revoked = append(revoked, x509.RevocationListEntry{SerialNumber: e.Serial.Int(), RevocationTime: e.At, ReasonCode: int(e.Reason)})
			}
		}
		if len(entries) < ledgerBatch {
			return revoked, nil
		}
	}
}
