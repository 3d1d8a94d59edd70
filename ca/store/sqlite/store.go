package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	// The SQLite amalgamation behind database/sql: the reference implementation, and
	// the only one whose crash safety is tested as hard as this ledger needs.
	_ "github.com/mattn/go-sqlite3"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/internal/atomicfile"
)

const (
	// applicationID marks the file as a Handfast ledger ("HFLG"), as SQLite's file(1) magic.
	applicationID = 0x48464c47
	// pageSize lets ten certificates fill a page; four would waste a fifth of 4 KiB.
	pageSize       = 8192
	maxReaders     = 4
	writerCache    = 16 << 10 // KiB of pages: the indexes' leaves are hit at random
	busyTimeout    = "5000"   // ms, against other processes such as a backup
	journalMaximum = 64 << 20 // bytes that the write-ahead log shrinks back to
	permissions    = fs.FileMode(0o600)
)

// Options of Open. The zero value is fine.
type Options struct {
	Registerer prometheus.Registerer // nil: metrics are kept but not registered

	hooks hooks
}

// hooks let tests fail a commit before and after it persisted.
type hooks struct{ beforeCommit, afterCommit func() error }

// Store is an open ledger. Its methods are safe for concurrent use and keep
// ca.Ledger's promises.
type Store struct {
	readers *readers
	writer  *writer
	memory  *memory
}

var _ ca.Ledger = (*Store)(nil)

// Create makes an empty ledger at path, readable by its owner only. It fails with
// fs.ErrExist when anything is there: a ledger is never overwritten.
func Create(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, permissions)
	if err != nil {
		return fmt.Errorf("create the ledger: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("create the ledger: %w", err)
	}
	if err := initialize(ctx, path); err != nil {
		return errors.Join(fmt.Errorf("create the ledger %s: %w", path, err), os.Remove(path))
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

func initialize(ctx context.Context, path string) error {
	db, err := openDB(path, modeCreate, 1)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA page_size = %d; PRAGMA application_id = %d", pageSize, applicationID))
	if err == nil {
		err = migrate(ctx, db)
	}
	return errors.Join(err, db.Close())
}

// Open opens the ledger at path, which Create made, and brings its schema up to date. A
// missing file is fs.ErrNotExist: it is never made by accident. A file that is no ledger
// or was written by a newer version (ErrTooNew) is refused and left as it is.
func Open(ctx context.Context, path string, options Options) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	s := &Store{}
	if err := s.open(ctx, path, options); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ledger %s: %w", path, err), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string, options Options) error {
	if err := checkPath(ctx, path); err != nil {
		return err
	}
	if err := upgrade(ctx, path); err != nil {
		return err
	}
	s.memory = newMemory()
	var err error
	if s.readers, err = openReaders(path); err != nil {
		return err
	}
	c, err := openConn(path, modeWrite)
	if err != nil {
		return err
	}
	checkpoints, err := openConn(path, modeWrite)
	if err != nil {
		return errors.Join(err, c.close())
	}
	if s.writer, err = startWriter(c, checkpoints, s.memory, options); err != nil {
		return errors.Join(err, c.close(), checkpoints.close())
	}
	return nil
}

// upgrade brings the schema up to date, over database/sql, which goose needs.
func upgrade(ctx context.Context, path string) error {
	db, err := openDB(path, modeWrite, 1)
	if err != nil {
		return err
	}
	return errors.Join(migrate(ctx, db), db.Close())
}

// Close finishes the writes that were accepted and closes the file. It is idempotent; later
// calls of other methods fail.
func (s *Store) Close() error {
	var errs []error
	if s.readers != nil { // first: only a connection that may write can remove the log
		errs = append(errs, s.readers.close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	return errors.Join(errs...)
}

// mode is what a connection is for.
type mode int

const (
	modeCreate mode = iota // without WAL: it writes by itself, and fixes the size of the pages
	modeWrite
	modeRead
)

// openDB never creates a file: every mode demands that it is there.
func openDB(path string, m mode, connections int) (*sql.DB, error) {
	location, err := dsn(path, m)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", location)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func dsn(path string, m mode) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	query := url.Values{"mode": {"rw"}, "_mutex": {"no"}, "_busy_timeout": {busyTimeout}, "_foreign_keys": {"1"}, "_synchronous": {"FULL"}}
	switch m {
	case modeWrite:
		query.Set("_journal_mode", "WAL")
	case modeRead:
		query.Set("mode", "ro")
	}
	location := url.URL{Scheme: "file", Opaque: (&url.URL{Path: absolute}).EscapedPath(), RawQuery: query.Encode()}
	return location.String(), nil
}

// checkPath looks before anything that writes has its hands on the file.
func checkPath(ctx context.Context, path string) error {
	db, err := openDB(path, modeCreate, 1)
	if err != nil {
		return err
	}
	return errors.Join(checkFile(ctx, db), db.Close())
}

// checkFile is cheap on purpose: it reads the header and the schema, not every page.
func checkFile(ctx context.Context, db *sql.DB) error {
	var id int
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return fmt.Errorf("it is not a SQLite database, or damaged: restore a backup: %w", err)
	}
	if id != applicationID {
		return errors.New("it is a SQLite database, but not a Handfast ledger")
	}
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return fmt.Errorf("its schema cannot be read: restore a backup: %w", err)
	}
	if tables == 0 {
		return errors.New("it was never finished: remove it and create it again")
	}
	return nil
}
