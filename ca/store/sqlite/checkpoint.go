package sqlite

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	// checkpointPause lets pages that are written again and again gather, to be copied once.
	checkpointPause = time.Second
	// checkpointLimit is of the log's pages. At it a commit copies the rest itself: a log
	// to which is always written never gets to its end by others, and would grow for ever.
	checkpointLimit = 8192
)

// checkpointer copies the write-ahead log's pages into the database. SQLite would do so in
// the commit that fills the log, and everybody in that commit would wait for it. This is over a
// connection of its own, PASSIVE: it blocks no writer and no reader.
type checkpointer struct {
	conn    *conn
	metrics *metrics
	failed  *atomic.Bool  // see ErrUnknownState
	grown   chan struct{} // of size 1: there is something to copy
	closing chan struct{}
	done    chan struct{}
	once    sync.Once
}

func startCheckpointer(c *conn, metrics *metrics, failed *atomic.Bool) *checkpointer {
	p := &checkpointer{
		conn: c, metrics: metrics, failed: failed,
		grown: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	go p.run()
	return p
}

// notice says that the log has grown. It never waits.
func (p *checkpointer) notice() {
	select {
	case p.grown <- struct{}{}:
	default:
	}
}

func (p *checkpointer) run() {
	defer close(p.done)
	for {
		select {
		case <-p.grown:
		case <-p.closing:
			return
		}
		select {
		case <-time.After(checkpointPause):
		case <-p.closing:
			return
		}
		p.copy()
	}
}

// copy counts a failure and goes on: the log still has everything, and the next one tries
// again. But after an I/O error nobody knows what the database's file holds.
func (p *checkpointer) copy() {
	began := time.Now()
	var busy, log, copied int64
	err := p.conn.queryRow("PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &copied)
	if code, ok := sqliteCode(err); ok && code == sqlite3.ErrIoErr {
		p.failed.Store(true)
	}
	p.metrics.checkpointed(time.Since(began), err)
}

// close is idempotent.
func (p *checkpointer) close() error {
	var err error
	p.once.Do(func() {
		close(p.closing)
		<-p.done
		err = p.conn.close()
	})
	return err
}
