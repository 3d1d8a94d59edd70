package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
)

// querier runs a statement by its text: a tx, or the readers.
type querier interface {
	query(text string, args ...any) (*sql.Rows, error)
	queryRow(text string, args ...any) *sql.Row
}

// tx is the writer's connection inside of a transaction. It keeps every statement prepared. A
// caller's context never reaches SQLite here: an interrupt would roll back everybody's changes.
type tx struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

func newTx(conn *sql.Conn) *tx { return &tx{conn: conn, prepared: make(map[string]*sql.Stmt)} }

// close finalizes the statements: database/sql leaves those of a *sql.Conn alone, and
// SQLite keeps a file open while one of them lives.
func (t *tx) close() error {
	var errs []error
	for _, s := range t.prepared {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// statement prepares text once. Texts are constants of this package, so there are few.
func (t *tx) statement(text string) (*sql.Stmt, error) {
	if s := t.prepared[text]; s != nil {
		return s, nil
	}
	s, err := t.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	t.prepared[text] = s
	return s, nil
}

func (t *tx) exec(text string, args ...any) error {
	_, err := t.execResult(text, args...)
	return err
}

func (t *tx) execResult(text string, args ...any) (sql.Result, error) {
	s, err := t.statement(text)
	if err != nil {
		return nil, err
	}
	return s.Exec(args...)
}

// changed is exec for when it matters how many rows were hit.
func (t *tx) changed(text string, args ...any) (int, error) {
	result, err := t.execResult(text, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// inserted is exec that returns the new row's id.
func (t *tx) inserted(text string, args ...any) (int64, error) {
	result, err := t.execResult(text, args...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

func (t *tx) query(text string, args ...any) (*sql.Rows, error) {
	s, err := t.statement(text)
	if err != nil {
		return nil, err
	}
	return s.Query(args...)
}

func (t *tx) queryRow(text string, args ...any) *sql.Row {
	s, err := t.statement(text)
	if err != nil {
		// Let the caller's Scan say what is wrong with text.
		return t.conn.QueryRowContext(context.Background(), text, args...)
	}
	return s.QueryRow(args...)
}

// exists reports whether a query finds any row.
func (t *tx) exists(text string, args ...any) (bool, error) {
	var one int
	err := t.queryRow(text, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// issuerID finds or makes the row of a key identifier.
func (t *tx) issuerID(keyID string) (int64, error) {
	octets, err := hex.DecodeString(keyID)
	if err != nil || len(octets) == 0 {
		return 0, fmt.Errorf("issuer %q is not a key identifier in hexadecimal", keyID)
	}
	var id int64
	err = t.queryRow("SELECT id FROM issuers WHERE key_id = ?", octets).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return t.inserted("INSERT INTO issuers (key_id) VALUES (?)", octets)
	}
	return id, err
}

func (t *tx) subjectID(kind, name, spiffeID string) (int64, error) {
	var id int64
	err := t.queryRow("SELECT id FROM subjects WHERE kind = ? AND name = ? AND spiffe_id = ?", kind, name, spiffeID).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return t.inserted("INSERT INTO subjects (kind, name, spiffe_id) VALUES (?, ?, ?)", kind, name, spiffeID)
	}
	return id, err
}

// reader is the readers' connections for one call.
type reader struct {
	ctx context.Context
	s   *Store
}

func (r reader) query(text string, args ...any) (*sql.Rows, error) {
	if statement := r.s.statements[text]; statement != nil {
		return statement.QueryContext(r.ctx, args...)
	}
	return r.s.readers.QueryContext(r.ctx, text, args...)
}

func (r reader) queryRow(text string, args ...any) *sql.Row {
	if statement := r.s.statements[text]; statement != nil {
		return statement.QueryRowContext(r.brief(), args...)
	}
	return r.s.readers.QueryRowContext(r.ctx, text, args...)
}

// brief is for reading one row by its key. That takes microseconds, less than the driver's
// watching of a context does; so one that has not ended yet is not watched.
func (r reader) brief() context.Context {
	if r.ctx.Err() != nil {
		return r.ctx
	}
	return context.WithoutCancel(r.ctx)
}

// statements are the readers' prepared ones, by text: what each request runs.
type statements map[string]*sql.Stmt

func (s *statements) prepare(ctx context.Context, db *sql.DB) error {
	*s = make(statements)
	for _, text := range []string{selectBySerial, selectReplay, selectService, selectOperator, selectEpoch, selectIssued, selectEntries} {
		statement, err := db.PrepareContext(ctx, text)
		if err != nil {
			return fmt.Errorf("prepare %q: %w", text, err)
		}
		(*s)[text] = statement
	}
	return nil
}
