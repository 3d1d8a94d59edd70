package revocation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// foldBatch is how many entries are read at once.
	foldBatch = 4096
	// maxStale is how old the last look at the log may be before OCSP stops answering.
	maxStale = 30 * time.Second
)

// errStale says that revocations may exist which the Publisher does not know.
var errStale = errors.New("the revocation log could not be read")

// follower reads the log in order and hands its entries to the issuers' histories.
type follower struct {
	log       Log
	histories map[string]*history
	metrics   *metrics
	others    atomic.Pointer[map[string]*history] // of issuers that are not configured; a new map for each change
	news      signal                              // a certificate's state is another than before

	mu       sync.Mutex // one fold at a time, so that entries arrive in order
	sequence uint64     // guarded by mu: the last entry that was folded

	syncedAt atomic.Int64 // Unix nanoseconds of the last complete read
	failed   atomic.Bool  // the last read failed
}

func newFollower(log Log, measures *metrics) *follower {
	f := &follower{log: log, histories: make(map[string]*history), metrics: measures}
	f.others.Store(&map[string]*history{})
	return f
}

// fold reads to the end of the log. It reports whether any certificate's state is another
// than before. The time is that of the call, because later revocations may be missed.
func (f *follower) fold(ctx context.Context, now time.Time) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := 0
	defer func() {
		if news > 0 {
			f.news.notify()
		}
	}()
	for {
		entries, err := f.log.Entries(ctx, f.sequence, foldBatch)
		if err == nil {
			err = f.check(entries)
		}
		if err != nil {
			f.failed.Store(true)
			f.metrics.logErrors.Inc()
			return news > 0, fmt.Errorf("read the revocation log after entry %d: %w", f.sequence, err)
		}
		news += f.apply(entries, now)
		if len(entries) < foldBatch {
			break
		}
	}
	f.syncedAt.Store(now.UnixNano())
	f.failed.Store(false)
	f.metrics.revoked.Add(float64(news))
	f.metrics.sequence.Set(float64(f.sequence))
	return news > 0, nil
}

// check refuses what this version cannot fold: to skip it might leave a revocation out.
func (f *follower) check(entries []Entry) error {
	last := f.sequence
	for _, e := range entries {
		switch {
		case e.Sequence <= last:
			return fmt.Errorf("entry %d comes after entry %d", e.Sequence, last)
		case e.Kind < Revoked || e.Kind > Released:
			return fmt.Errorf("entry %d has the unknown kind %d: a newer version wrote it; run that version", e.Sequence, e.Kind)
		case e.Kind != Published && e.Serial.IsZero():
			return fmt.Errorf("entry %d is about a certificate and names no serial number", e.Sequence)
		}
		last = e.Sequence
	}
	return nil
}

// apply hands runs of entries of one issuer to its history. The caller holds f.mu.
func (f *follower) apply(entries []Entry, now time.Time) int {
	news := 0
	for start := 0; start < len(entries); {
		end := start + 1
		for end < len(entries) && entries[end].Issuer == entries[start].Issuer {
			end++
		}
		h := f.historyOf(entries[start].Issuer)
		if changed := h.apply(entries[start:end]); changed > 0 {
			h.unsharded.begin(now)
			h.unlisted.begin(now)
			news += changed
		}
		f.sequence = entries[end-1].Sequence
		start = end
	}
	return news
}

// fresh returns an error that is errStale unless the log was read lately.
func (f *follower) fresh(now time.Time) error {
	age := now.Sub(time.Unix(0, f.syncedAt.Load()))
	switch {
	case f.failed.Load():
		return fmt.Errorf("%w: see the log for the cause; OCSP answers tryLater until it can be read", errStale)
	case age > maxStale:
		return fmt.Errorf("%w for %v: OCSP answers tryLater until it can be read", errStale, age.Round(time.Second))
	}
	return nil
}
