package sqlite

import (
	"context"
	"errors"
	"sync"

	"github.com/mattn/go-sqlite3"
)

// readers are the connections that only read. Each is lent to one call at a time.
type readers struct {
	all     []*conn
	free    chan *conn
	hot     map[string]bool // the statements that stay prepared: what each request runs
	closing chan struct{}
	once    sync.Once
}

func openReaders(path string) (*readers, error) {
	r := &readers{free: make(chan *conn, maxReaders), closing: make(chan struct{}), hot: map[string]bool{
		selectBySerial: true, selectBySeq: true, selectReplay: true, selectService: true,
		selectOperator: true, selectEpoch: true, selectIssued: true, selectEntries: true,
	}}
	for range maxReaders {
		c, err := openConn(path, modeRead)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.all = append(r.all, c)
		r.free <- c
	}
	return r, nil
}

// close waits for the calls that are under way; later ones fail. It is idempotent.
func (r *readers) close() error {
	var errs []error
	r.once.Do(func() {
		close(r.closing)
		for range r.all {
			errs = append(errs, (<-r.free).close())
		}
	})
	return errors.Join(errs...)
}

// usable says why nothing may be read, or nil. What is remembered is subject to it too.
func (r *readers) usable(ctx context.Context) error {
	select {
	case <-r.closing:
		return errClosed
	default:
		return ctx.Err()
	}
}

func (r *readers) take(ctx context.Context) (*conn, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	select {
	case c := <-r.free:
		return c, nil
	case <-r.closing:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reader is the readers' connections for one call.
type reader struct {
	ctx context.Context
	s   *Store
}

// query ends with an error when its context does.
func (r reader) query(text string, args ...any) (*rows, error) { return r.read(r.ctx, text, args) }

// queryRow is for reading one row by its key. That takes microseconds, less than the driver's
// watching of a context does; so one that has not ended yet is not watched.
func (r reader) queryRow(text string, args ...any) *single {
	ctx := r.ctx
	if r.s.readers.hot[text] {
		ctx = context.WithoutCancel(ctx)
	}
	found, err := r.read(ctx, text, args)
	return &single{found, err}
}

func (r reader) read(ctx context.Context, text string, args []any) (*rows, error) {
	c, err := r.s.readers.take(r.ctx)
	if err != nil {
		return nil, err
	}
	found, err := c.read(ctx, text, args, r.s.readers.hot[text])
	if err != nil {
		r.s.readers.free <- c
		return nil, err
	}
	found.release = append(found.release, func() { r.s.readers.free <- c })
	return found, nil
}

// read keeps the statement prepared, or finalizes it with the rows.
func (c *conn) read(ctx context.Context, text string, args []any, keep bool) (*rows, error) {
	if keep {
		s, err := c.statement(text)
		if err != nil {
			return nil, err
		}
		return c.rows(ctx, s, args)
	}
	prepared, err := c.Prepare(text)
	if err != nil {
		return nil, err
	}
	s := prepared.(*sqlite3.SQLiteStmt)
	found, err := c.rows(ctx, s, args)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	found.release = append(found.release, func() { _ = s.Close() }) // it was reset with the rows
	return found, nil
}
