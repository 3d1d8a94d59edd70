package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/handfast/handfast/internal/atomicfile"
)

// restoreGap is how far a restore moves every number on that the world may have seen
// rise since the backup. More entries than that between two backups nobody makes.
const restoreGap = 1_000_000

// Restore makes a ledger at path, where nothing may be, out of a copy that Backup made. The
// numbers of CRLs and the versions of policy go on far above the copy's: those
// published since the backup were higher than the copy knows, and relying parties refuse a
// CRL whose number falls. It returns after the ledger is on stable storage.
func Restore(ctx context.Context, from, path string) error {
	for _, leftover := range []string{path + "-wal", path + "-shm"} {
		if _, err := os.Lstat(leftover); err == nil {
			return fmt.Errorf("restore the ledger: %s belongs to another ledger: move it away first", leftover)
		}
	}
	if err := Backup(ctx, from, path); err != nil {
		return fmt.Errorf("restore the ledger: %w", err)
	}
	if err := moveOn(ctx, path); err != nil {
		return errors.Join(fmt.Errorf("restore the ledger %s: %w", path, err), os.Remove(path))
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

func moveOn(ctx context.Context, path string) error {
	db, err := openDB(path, modeCreate, 1)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `BEGIN IMMEDIATE;
		INSERT INTO sqlite_sequence (name, seq) SELECT 'log', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'log');
		UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'log';
		UPDATE counters SET value = value + ? WHERE name = 'epoch';
		COMMIT`, restoreGap, restoreGap)
	return errors.Join(err, db.Close())
}
