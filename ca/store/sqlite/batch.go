package sqlite

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/mattn/go-sqlite3"
)

// mostYields bounds how often the writer lets others go first. Each time it does so again, at least one
// more has come, and all share what a commit costs.
const mostYields = 8

// gather takes what waits already. The previous commit's fsync was the time to gather; but its end made everybody
// who was in it ready to run, and the writer would be back at once, with whoever came first. So it lets run who
// can, for as long as that brings more. It waits for nobody who is not ready: where there is nobody else, it goes on.
func (w *writer) gather(first *change) []*change {
	for range mostYields {
		waiting := len(w.queue)
		runtime.Gosched()
		if len(w.queue) == waiting || waiting >= maxBatch {
			break
		}
	}
	batch := []*change{first}
	for len(batch) < maxBatch {
		select {
		case next := <-w.queue:
			batch = append(batch, next)
			continue
		default:
		}
		break
	}
	select {
	case last := <-w.patient:
		return append(batch, last)
	default:
		return batch
	}
}

// share has last committed with the next ones, or alone when none come soon.
func (w *writer) share(last *change) []*change {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case first := <-w.queue:
		return append(w.gather(first), last)
	case <-timer.C:
	case <-w.closing:
	}
	return []*change{last}
}

// drain commits what was accepted before the end.
func (w *writer) drain() {
	for len(w.queue) > 0 {
		w.commit(w.tx, w.gather(<-w.queue))
	}
	for len(w.patient) > 0 {
		w.commit(w.tx, []*change{<-w.patient})
	}
}

// attempt is one transaction. together has issuances recorded by the same few statements; if
// two of them want the same, that is errContested, and each must be tried alone.
func (w *writer) attempt(t *tx, batch []*change, together bool) error {
	if err := t.begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err := applyAll(t, batch, together)
	if err == nil {
		err = w.persist(t)
	}
	if err != nil {
		t.known = newKnown()
		return errors.Join(err, rollBack(t))
	}
	return nil
}

func applyAll(t *tx, batch []*change, together bool) error {
	for len(batch) > 0 {
		n := 0
		for together && n < len(batch) && batch[n].issuance != nil {
			n++
		}
		if n > 0 {
			if err := recordTogether(t, batch[:n]); err != nil {
				return err
			}
			batch = batch[n:]
			continue
		}
		if err := applyOne(t, batch[0]); err != nil {
			return err
		}
		batch = batch[1:]
	}
	return nil
}

// applyOne returns an error when the whole transaction is lost.
func applyOne(t *tx, c *change) error {
	if c.err = c.ctx.Err(); c.err != nil {
		return nil
	}
	if err := t.exec("SAVEPOINT change"); err != nil {
		return err
	}
	t.touch(c.effect)
	c.err = c.apply(t)
	if c.err != nil {
		if losesTransaction(c.err) {
			return c.err
		}
		t.known.doubt()
		if err := t.exec("ROLLBACK TO change"); err != nil {
			return err
		}
	}
	return t.exec("RELEASE change")
}

// losesTransaction tells faults of the file or the machine, after which SQLite may have
// rolled back everything, from a change that merely failed.
func losesTransaction(err error) bool {
	code, ok := sqliteCode(err)
	if !ok {
		return false
	}
	switch code {
	case sqlite3.ErrConstraint, sqlite3.ErrTooBig, sqlite3.ErrMismatch, sqlite3.ErrRange, sqlite3.ErrError:
		return false
	default:
		return true
	}
}

func sqliteCode(err error) (sqlite3.ErrNo, bool) {
	e, ok := errors.AsType[sqlite3.Error](err)
	return e.Code, ok
}

// rollBack ends the transaction if SQLite has not ended it by itself.
func rollBack(t *tx) error {
	if t.AutoCommit() {
		return nil
	}
	return t.exec("ROLLBACK")
}
