// Package broadcast sends the feed of revocations (package certs/feed) to everybody who
// follows it: signed statements made from the revocation log, each signed once for all
// followers at the same position.
//
// The log alone is the truth. What is sent was durable before, and a Broadcaster that is
// opened on the same log after a crash sends what the one before it did not. Nobody's position is
// kept here: a follower says where it stands, and gets what came after that from memory, then
// from the log, or else a snapshot of everything that is revoked.
//
// Whatever is uncertain fails closed, into silence, which followers notice because
// heartbeats stop: no signer, a log or versions that cannot be read, or a clock that went
// back, and no statement is made.
package broadcast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus" // metrics are Prometheus throughout the project

	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/revocation"
)

// Log is what a Broadcaster reads of the revocation log. *revocation.Log's rules hold: what it
// returns is durable and in order. It is safe for concurrent use.
type Log interface {
	Entries(ctx context.Context, after uint64, limit int) ([]revocation.Entry, error)
}

// Config is what New needs. TrustDomain, Log, Listed, Issuers and Versions have no default.
type Config struct {
	TrustDomain string
	Log         Log
	// Listed calls yield for everything that is revoked or on hold at the position that it
	// returns; (*revocation.Publisher).Listed is one.
	Listed func(yield func(issuer string, serial []byte, notAfter time.Time) bool) (upTo uint64)
	// Issuers are the key identifiers of whose certificates the feed covers: all that they
	// ever revoked is in the log. Lower-case hexadecimal, 64 at most.
	Issuers func() []string
	// Versions are the versions of what statements announce. It is called once for each
	// Notify and heartbeat, not for each follower.
	Versions func(context.Context) ([]feed.Version, error)

	Heartbeat time.Duration // between statements without news; default 5 s
	Validity  time.Duration // from a statement's date to its nextUpdate; default 24 h
	// Recent is how many of the log's last entries are held in memory for followers that were
	// away: about 0.2 KB each. Default 8192, at most 65,536.
	Recent int

	catchUp int // how far behind a follower may be for single entries; 0 is maxCatchUp

	Now        func() time.Time      // nil is time.Now
	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil leaves the metrics unregistered
}

// maxCatchUp is how far behind a follower may be for single entries, which say more than a
// snapshot; so many take 5 MB.
const maxCatchUp = 1 << 16

func (c Config) withDefaults() (Config, error) {
	if c.TrustDomain == "" || c.Log == nil || c.Listed == nil || c.Issuers == nil || c.Versions == nil {
		return c, errors.New("broadcast: Config lacks TrustDomain, Log, Listed, Issuers or Versions")
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 5 * time.Second
	}
	if c.Validity == 0 {
		c.Validity = 24 * time.Hour
	}
	if c.Recent == 0 {
		c.Recent = 8192
	}
	if c.catchUp == 0 {
		c.catchUp = maxCatchUp
	}
	if c.Heartbeat < 0 || c.Validity < 2*c.Heartbeat || c.Recent < 1 || c.Recent > maxCatchUp {
		return c, fmt.Errorf("broadcast: heartbeat %v, validity %v, %d recent entries: use positive ones, a validity of at least two heartbeats, and at most %d entries", c.Heartbeat, c.Validity, c.Recent, maxCatchUp)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Broadcaster makes the feed's statements. Its methods are safe for concurrent use.
type Broadcaster struct {
	config  Config
	metrics *metrics

	signer  atomic.Pointer[signer] // nil: nobody may sign
	current atomic.Pointer[round]  // nil before the first one
	wake    chan struct{}          // holds one element while somebody wants to be told something
	failure atomic.Pointer[error]  // why the last attempt made no statement; nil when it did
	waiting atomic.Int64           // followers that wait for news

	advancing sync.Mutex // one attempt at a time
	memory    memory     // guarded by advancing
	begun     chan struct{}

	snapshots snapshots
}

// New makes a Broadcaster. It reads nothing yet: Run does.
func New(config Config) (*Broadcaster, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Broadcaster{config: config, wake: make(chan struct{}, 1), begun: make(chan struct{})}
	if b.metrics, err = newMetrics(config.Registerer, &b.waiting); err != nil {
		return nil, err
	}
	return b, nil
}

// Notify says that something may be new: after a revocation is durable, after a change of
// policy, bundle or static CRLs. It never waits.
func (b *Broadcaster) Notify() {
	select {
	case b.wake <- struct{}{}:
	default: // Run will look at the log after now anyway
	}
}

// Sequence returns the position up to which statements were made, 0 before the first one.
func (b *Broadcaster) Sequence() uint64 {
	if r := b.current.Load(); r != nil {
		return r.to
	}
	return 0
}

// Changed returns a channel that is closed when there is a statement newer than those of now: for who tells many
// followers by one wait, instead of one Next for each.
func (b *Broadcaster) Changed() <-chan struct{} {
	if r := b.current.Load(); r != nil {
		return r.superseded
	}
	return b.begun
}

// Attend counts followers who are told after Changed, and so do not wait in Next: they come (1) and go (-1).
func (b *Broadcaster) Attend(change int) { b.waiting.Add(int64(change)) }

const (
	// pace and pacePerFollower are the least time between two statements: revocations that
	// come meanwhile share the next one. The first one never waits. With many followers it
	// grows, so that a stream of revocations cannot take the whole CPU for telling each apart.
	pace            = 4 * time.Millisecond
	pacePerFollower = 10 * time.Microsecond
	// retry is the time between a failed attempt and the next one.
	retry = 500 * time.Millisecond
)

// Run makes a statement within milliseconds after each Notify that brings news, and one each
// Heartbeat in any case, until ctx ends; it returns nil then. Call it once.
func (b *Broadcaster) Run(ctx context.Context) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		beat := false
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
			beat = true
		case <-b.wake:
		}
		began := time.Now()
		audience := b.waiting.Load()
		result, err := b.advance(ctx, beat)
		switch {
		case err != nil:
			next.Reset(min(retry, b.config.Heartbeat))
		case result != nothing:
			next.Reset(b.config.Heartbeat)
		}
		if result == told && !sleep(ctx, pace+time.Duration(audience)*pacePerFollower-time.Since(began)) {
			return nil
		}
	}
}

// sleep reports whether ctx lives.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
