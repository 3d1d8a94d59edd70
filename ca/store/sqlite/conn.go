package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/mattn/go-sqlite3"
)

// conn is one connection of the driver, without database/sql in between: its pool, its
// conversions and its watching of contexts cost more than what SQLite does for one row. One goroutine at a time uses it.
type conn struct {
	*sqlite3.SQLiteConn
	prepared map[string]*sqlite3.SQLiteStmt
	args     []driver.NamedValue // of the call under way
}

func openConn(path string, m mode) (*conn, error) {
	location, err := dsn(path, m)
	if err != nil {
		return nil, err
	}
	opened, err := new(sqlite3.SQLiteDriver).Open(location)
	if err != nil {
		return nil, err
	}
	return &conn{SQLiteConn: opened.(*sqlite3.SQLiteConn), prepared: make(map[string]*sqlite3.SQLiteStmt)}, nil
}

// close also finalizes the statements: SQLite keeps a file open while one of them lives.
func (c *conn) close() error {
	var errs []error
	for _, s := range c.prepared {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.Close())...)
}

// statement prepares text once. Texts are constants of this package, so there are few.
func (c *conn) statement(text string) (*sqlite3.SQLiteStmt, error) {
	if s := c.prepared[text]; s != nil {
		return s, nil
	}
	s, err := c.Prepare(text)
	if err != nil {
		return nil, err
	}
	c.prepared[text] = s.(*sqlite3.SQLiteStmt)
	return c.prepared[text], nil
}

// bind makes the driver's values. They are good until the next call.
func (c *conn) bind(args []any) ([]driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, arg := range args {
		value, err := valueOf(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: value})
	}
	return c.args, nil
}

func valueOf(arg any) (driver.Value, error) {
	switch v := arg.(type) {
	case nil, int64, string, []byte:
		return v, nil
	case int:
		return int64(v), nil
	default:
		return driver.DefaultParameterConverter.ConvertValue(arg)
	}
}

func (c *conn) execResult(text string, args ...any) (driver.Result, error) {
	s, err := c.statement(text)
	if err != nil {
		return nil, err
	}
	values, err := c.bind(args)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(context.Background(), values)
}

func (c *conn) exec(text string, args ...any) error {
	_, err := c.execResult(text, args...)
	return err
}

// changed is exec for when it matters how many rows were hit.
func (c *conn) changed(text string, args ...any) (int, error) {
	result, err := c.execResult(text, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// inserted is exec that returns the new row's id.
func (c *conn) inserted(text string, args ...any) (int64, error) {
	result, err := c.execResult(text, args...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// run is exec for a statement with many arguments: the driver binds them all in one call into SQLite.
func (c *conn) run(text string, args []driver.NamedValue) error {
	s, err := c.statement(text)
	if err != nil {
		return err
	}
	result, err := s.QueryContext(context.Background(), args)
	if err != nil {
		return err
	}
	return result.Close()
}

func (c *conn) query(text string, args ...any) (*rows, error) {
	s, err := c.statement(text)
	if err != nil {
		return nil, err
	}
	return c.rows(context.Background(), s, args)
}

func (c *conn) rows(ctx context.Context, s driver.StmtQueryContext, args []any) (*rows, error) {
	values, err := c.bind(args)
	if err != nil {
		return nil, err
	}
	result, err := s.QueryContext(ctx, values)
	if err != nil {
		return nil, err
	}
	return &rows{from: result, values: make([]driver.Value, len(result.Columns()))}, nil
}

func (c *conn) queryRow(text string, args ...any) *single {
	found, err := c.query(text, args...)
	return &single{found, err}
}

// exists reports whether a query finds any row.
func (c *conn) exists(text string, args ...any) (bool, error) {
	var one int64
	err := c.queryRow(text, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// rows is what *sql.Rows is. It must be closed.
type rows struct {
	from    driver.Rows
	values  []driver.Value
	err     error
	release []func() // in this order
	closed  bool
}

// Next reads the next row, if there is one.
func (r *rows) Next() bool {
	if r.err != nil || r.closed {
		return false
	}
	err := r.from.Next(r.values)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return err == nil
}

// Err says why Next ended, unless the rows had ended.
func (r *rows) Err() error { return r.err }

// Close is idempotent.
func (r *rows) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	err := r.from.Close()
	for _, release := range r.release {
		release()
	}
	return err
}

// Scan copies the row's values into dest.
func (r *rows) Scan(dest ...any) error {
	if len(dest) != len(r.values) {
		return fmt.Errorf("the row has %d columns, not %d", len(r.values), len(dest))
	}
	for i, value := range r.values {
		if err := assign(dest[i], value); err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return nil
}

// assign never guesses: a value of another type than the schema's is a damaged row.
func assign(dest any, value driver.Value) error {
	var ok bool
	switch d := dest.(type) {
	case *int64:
		*d, ok = value.(int64)
	case *int:
		var n int64
		n, ok = value.(int64)
		*d = int(n)
	case *string:
		*d, ok = value.(string)
	case *[]byte:
		*d, ok = value.([]byte)
		ok = ok || value == nil
	case sql.Scanner:
		return d.Scan(value)
	}
	if !ok {
		return fmt.Errorf("%T is no %T", value, dest)
	}
	return nil
}

// single is what *sql.Row is.
type single struct {
	rows *rows
	err  error
}

// Scan fails with sql.ErrNoRows when there is none.
func (r *single) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if !r.rows.Next() {
		err := r.rows.Err()
		if err == nil {
			err = sql.ErrNoRows
		}
		return errors.Join(err, r.rows.Close())
	}
	return errors.Join(r.rows.Scan(dest...), r.rows.Close())
}
