package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/handfast/handfast/internal/atomicfile"
)

// Backup writes a consistent copy of the ledger at path to a new file, readable by its
// owner only, also while another process writes the ledger. It fails with fs.ErrExist when
// something is at to. It returns after the copy has been checked and is on stable storage.
func Backup(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("back up the ledger: %w", err)
	}
	// VACUUM INTO takes an empty file, and this way its permissions are right from the start.
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, permissions)
	if err != nil {
		return fmt.Errorf("back up the ledger: %w", err)
	}
	if err := copyInto(ctx, path, to); err != nil {
		return errors.Join(fmt.Errorf("back up the ledger %s to %s: %w", path, to, err), f.Close(), os.Remove(to))
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("back up the ledger to %s: %w", to, err), os.Remove(to))
	}
	return atomicfile.SyncDir(filepath.Dir(to))
}

func copyInto(ctx context.Context, path, to string) error {
	db, err := openDB(path, modeWrite, 1)
	if err != nil {
		return err
	}
	if err := checkFile(ctx, db); err != nil {
		return errors.Join(err, db.Close())
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return checkCopy(ctx, to)
}

// checkCopy reads every page of the copy: a backup that cannot be restored is none.
func checkCopy(ctx context.Context, path string) error {
	db, err := openDB(path, modeRead, 1)
	if err != nil {
		return err
	}
	err = checkFile(ctx, db)
	if err == nil {
		var result string
		err = db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&result)
		if err == nil && result != "ok" {
			err = fmt.Errorf("the copy is damaged: %s", result)
		}
	}
	return errors.Join(err, db.Close())
}
