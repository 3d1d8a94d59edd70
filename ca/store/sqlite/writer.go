package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	maxBatch  = 256  // changes in one commit
	maxQueued = 1024 // changes that wait before callers do
	// patience is how long a patient change waits for others to share their commit.
	patience = 5 * time.Millisecond
)

var (
	errClosed  = errors.New("the ledger is closed")
	errPersist = errors.New("commit")
	// errContested means that issuances which were recorded together could not all be recorded.
	errContested = errors.New("two want the same")
	// errRollBack ends a dry run: its result counts, its changes do not.
	errRollBack = errors.New("dry run")
	// ErrUnknownState is the answer to every write after a commit failed with an I/O error:
	// what the disk holds is unknown, so the process must stop and open the ledger anew.
	ErrUnknownState = errors.New("a commit failed with an I/O error, so the ledger's state is unknown: check the disk and restart the CA")
)

// writer is the only one that writes. Its goroutine owns the connection.
type writer struct {
	hooks   hooks
	metrics *metrics

	queue   chan *change
	patient chan *change  // that would rather share a commit than have one
	closing chan struct{} // closed by close: nothing more is accepted
	done    chan struct{} // closed when the goroutine has ended
	once    sync.Once
	tx      *tx         // only the goroutine uses it, and close after it
	failed  atomic.Bool // see ErrUnknownState

	checkpointer *checkpointer
}

// change is one caller's part of a commit.
type change struct {
	ctx      context.Context
	apply    func(*tx) error
	effect   effect     // what of the memories may be untrue after it
	patient  bool       // nobody waits for it: it comes last in a commit, if it can in that of others
	issuance *issuance  // not nil: what apply does, for those that are recorded together
	err      error      // of apply; owned by the writer
	done     chan error // buffered, answered once after the commit
}

// startWriter takes c for its own and copies the log over checkpoints.
func startWriter(c, checkpoints *conn, memory *memory, options Options) (*writer, error) {
	for _, pragma := range []string{
		fmt.Sprintf("journal_size_limit = %d", journalMaximum),
		fmt.Sprintf("wal_autocheckpoint = %d", checkpointLimit),
		fmt.Sprintf("cache_size = -%d", writerCache),
		"temp_store = MEMORY", // what savepoints keep is at most some pages: never a file
	} {
		if err := c.exec("PRAGMA " + pragma); err != nil {
			return nil, err
		}
	}
	w := &writer{
		hooks: options.hooks, metrics: newMetrics(options.Registerer),
		queue: make(chan *change, maxQueued), patient: make(chan *change, 1), closing: make(chan struct{}), done: make(chan struct{}),
		tx: &tx{conn: c, known: newKnown(), memory: memory},
	}
	w.checkpointer = startCheckpointer(checkpoints, w.metrics, &w.failed)
	go w.run()
	return w, nil
}

// write has apply's changes made durable, and returns its result after the commit. e is what of
// the memories it may make untrue. When ctx ends first the outcome is unknown to the
// caller, who must treat it as failed.
func write[T any](ctx context.Context, s *Store, e effect, apply func(*tx) (T, error)) (T, error) {
	var result T
	err := s.writer.commitOf(&change{ctx: ctx, effect: e, apply: func(t *tx) (err error) {
		result, err = apply(t)
		return err
	}})
	if err != nil && !errors.Is(err, errRollBack) {
		var zero T
		return zero, err
	}
	return result, nil
}

// commitOf returns after the commit that c shared, or its refusal.
func (w *writer) commitOf(c *change) error {
	c.done = make(chan error, 1)
	if err := w.submit(c); err != nil {
		return err
	}
	return w.wait(c)
}

func (w *writer) submit(c *change) error {
	queue := w.queue
	if c.patient {
		queue = w.patient
	}
	select {
	case <-w.closing:
		return errClosed
	case <-c.ctx.Done():
		return c.ctx.Err()
	case queue <- c:
		return nil
	}
}

func (w *writer) wait(c *change) error {
	select {
	case err := <-c.done:
		return err
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-w.done:
	}
	// The writer has ended. It answered c, or c came into the queue too late.
	select {
	case err := <-c.done:
		return err
	default:
		return errClosed
	}
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case first := <-w.queue:
			w.commit(w.tx, w.gather(first))
		case last := <-w.patient:
			w.commit(w.tx, w.share(last))
		case <-w.closing:
			w.drain()
			return
		}
	}
}

// commit applies batch in one transaction and answers everybody in it.
func (w *writer) commit(t *tx, batch []*change) {
	began := time.Now()
	err := w.transact(t, batch)
	w.metrics.committed(len(batch), time.Since(began), err)
	for _, c := range batch {
		if err != nil && !errors.Is(c.err, errRollBack) {
			c.err = err
		}
		c.done <- c.err
	}
}

// transact returns an error when nothing of batch may count. A change's own failure stands in
// its err and leaves the others alone. Nobody hears of the commit before the memories
// have forgotten what it made untrue.
func (w *writer) transact(t *tx, batch []*change) error {
	if w.failed.Load() {
		return ErrUnknownState
	}
	err := w.attempt(t, batch, true)
	if errors.Is(err, errContested) {
		err = w.attempt(t, batch, false)
	}
	if err == nil {
		t.memory.forget(t.touched, t.gone)
		w.checkpointer.notice()
		return nil
	}
	if code, ok := sqliteCode(err); ok && code == sqlite3.ErrIoErr && errors.Is(err, errPersist) {
		w.failed.Store(true)
		err = fmt.Errorf("%w: %w", ErrUnknownState, err)
	}
	t.memory.forget(onEverything, nil)
	return err
}

func (w *writer) persist(t *tx) error {
	if hook := w.hooks.beforeCommit; hook != nil {
		if err := hook(); err != nil {
			return err
		}
	}
	if err := t.exec("COMMIT"); err != nil {
		return fmt.Errorf("%w: %w", errPersist, err)
	}
	if hook := w.hooks.afterCommit; hook != nil {
		return hook()
	}
	return nil
}

func (w *writer) close() error {
	var err error
	w.once.Do(func() {
		close(w.closing)
		<-w.done
		err = errors.Join(w.checkpointer.close(), w.tx.close())
	})
	return err
}
