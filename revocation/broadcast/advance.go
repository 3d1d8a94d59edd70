package broadcast

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

const (
	// maxBack is how far the clock may go back: statements keep the last date meanwhile.
	maxBack = 2 * time.Second
	// readTimeout bounds one attempt: a log that hangs is a log that cannot be read.
	readTimeout = 5 * time.Second
)

// outcome says what an attempt led to.
type outcome uint8

const (
	nothing outcome = iota // nothing was new
	beaten                 // a statement without news
	told                   // a statement with news
)

// step says where an attempt failed, for the metrics.
type step string

// failed is an error of a step.
type failed struct {
	step  step
	cause error
}

func (f *failed) Error() string { return f.cause.Error() }
func (f *failed) Unwrap() error { return f.cause }

// advance reads what is new and makes a round of it. Without news it makes one only for a
// heartbeat.
func (b *Broadcaster) advance(ctx context.Context, beat bool) (outcome, error) {
	b.advancing.Lock()
	defer b.advancing.Unlock()
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	next, news, err := b.prepare(reading)
	if err == nil && !news && !beat {
		return nothing, nil
	}
	if err == nil {
		err = next.sign()
	}
	if err != nil {
		if ctx.Err() == nil {
			b.fail(err)
		}
		return nothing, err
	}
	b.publish(next)
	if news {
		return told, nil
	}
	return beaten, nil
}

// prepare reads everything that a round needs. It reports whether there are news in it: an
// entry about a certificate, another version, issuer or signer. The caller holds b.advancing.
func (b *Broadcaster) prepare(ctx context.Context) (*round, bool, error) {
	last := b.current.Load()
	next := &round{config: &b.config, metrics: b.metrics, signer: b.signer.Load(), superseded: make(chan struct{}), issuers: b.config.Issuers()}
	var err error
	if next.at, err = b.date(last); err != nil {
		return nil, false, &failed{"clock", err}
	}
	if err = next.signer.valid(next.at); err != nil {
		return nil, false, &failed{"signer", err}
	}
	if next.versions, err = b.config.Versions(ctx); err != nil {
		return nil, false, &failed{"versions", fmt.Errorf("read the versions that the feed announces: %w", err)}
	}
	if err = b.remember(ctx, last); err != nil {
		return nil, false, &failed{"log", err}
	}
	next.memory, next.to = b.memory, b.memory.to
	next.number, next.from = 1, next.to
	if last == nil {
		return next, true, nil
	}
	next.number = last.number + 1
	if last.to >= next.memory.from { // else too much is new for one statement
		next.from = last.to
	}
	news := len(next.memory.after(last.to)) > 0 || next.signer != last.signer ||
		!slices.Equal(next.versions, last.versions) || !slices.Equal(next.issuers, last.issuers)
	return next, news, nil
}

// date is the next round's. It never goes back: followers refuse a statement that is older than
// one before it.
func (b *Broadcaster) date(last *round) (time.Time, error) {
	now := b.config.Now().UTC().Truncate(time.Millisecond)
	if last == nil || !now.Before(last.at) {
		return now, nil
	}
	if back := last.at.Sub(now); back > maxBack {
		return time.Time{}, fmt.Errorf("the CA's clock went back by %v: no statement is made before %s; set the clock, and start the CA again if it ran ahead before",
			back, last.at.Format(time.RFC3339))
	}
	return last.at, nil
}

// remember reads the log's end into memory; the first time, of as much as is kept. What the
// last round did not tell stays in memory, unless it is too much. The caller holds b.advancing.
func (b *Broadcaster) remember(ctx context.Context, last *round) error {
	if b.memory.entries == nil {
		upTo := b.config.Listed(func(string, []byte, time.Time) bool { return false })
		start := upTo - min(upTo, uint64(b.config.Recent)) // #nosec G115 -- not negative
		b.memory = memory{from: start, to: start, entries: []feed.Entry{}}
	}
	if err := b.memory.read(ctx, b.config.Log, b.config.catchUp); err != nil {
		return err
	}
	told := b.memory.to
	if last != nil && last.to >= b.memory.from {
		told = last.to
	}
	b.memory.trim(b.config.Recent, told)
	return nil
}

// publish shows a round to all who wait. The caller holds b.advancing.
func (b *Broadcaster) publish(next *round) {
	last := b.current.Swap(next)
	b.metrics.sequence.Set(float64(next.to))
	b.metrics.signedAt.Set(float64(next.at.Unix()))
	if b.failure.Swap(nil) != nil {
		b.config.Logger.Info("the feed goes on", "sequence", next.to)
	}
	if last == nil {
		close(b.begun)
		return
	}
	close(last.superseded)
}

// fail notes why there is no statement. Only the first one of several failures in a row is
// news for the log.
func (b *Broadcaster) fail(err error) {
	at := step("sign")
	if f, ok := errors.AsType[*failed](err); ok {
		at = f.step
	}
	b.metrics.errors.WithLabelValues(string(at)).Inc()
	first, starting := b.failure.Swap(&err) == nil, at == "signer" && b.current.Load() == nil
	if first && !starting { // before the CA has made a signer it is no fault that there is none
		b.config.Logger.Error("the feed is silent: no statement can be made; it is tried again", "error", err)
	}
}
