package server

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/certs/feed"
)

// fakeFeed is a Feed whose statements are numbers: what the server passes on it does not read.
type fakeFeed struct {
	mu       sync.Mutex
	sequence uint64
	failure  error
	changed  chan struct{}

	attending atomic.Int64
	padding   []byte // that each statement has more
	made      uint64 // what last says
	last      []byte
}

func newFakeFeed(sequence uint64) *fakeFeed {
	return &fakeFeed{sequence: sequence, changed: make(chan struct{})}
}

// beat tells every follower that sequence is the newest; the same one again is a heartbeat.
func (f *fakeFeed) beat(sequence uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sequence = sequence
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeFeed) fail(err error) {
	f.mu.Lock()
	f.failure = err
	sequence := f.sequence
	f.mu.Unlock()
	f.beat(sequence)
}

func (f *fakeFeed) now() (uint64, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sequence, f.changed, f.failure
}

func (f *fakeFeed) Follow(since uint64) Cursor { return &fakeCursor{feed: f, position: since} }

func (f *fakeFeed) Sequence() uint64 {
	sequence, _, _ := f.now()
	return sequence
}

func (f *fakeFeed) Changed() <-chan struct{} {
	_, changed, _ := f.now()
	return changed
}

// fill makes the statements long.
func (f *fakeFeed) fill(octets int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.padding = make([]byte, octets)
}

// message returns a statement, the same one for everybody.
func (f *fakeFeed) message(sequence uint64) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made != sequence {
		statement := append(binary.BigEndian.AppendUint64(nil, sequence), f.padding...)
		f.made, f.last = sequence, feed.AppendMessage(nil, feed.StatementMessage, statement)
	}
	return f.last
}

func (f *fakeFeed) Attend(change int) { f.attending.Add(int64(change)) }

type fakeCursor struct {
	feed     *fakeFeed
	position uint64
	next     <-chan struct{}
}

func (c *fakeCursor) Position() uint64 { return c.position }

func (c *fakeCursor) Behind() bool {
	select {
	case <-c.next:
		return true
	default:
		return c.next == nil
	}
}

func (c *fakeCursor) Next(ctx context.Context) ([]byte, error) {
	if c.next != nil {
		select {
		case <-c.next:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var err error
	if c.position, c.next, err = c.feed.now(); err != nil {
		return nil, err
	}
	return c.feed.message(c.position), nil
}

// noAgents is a ledger that remembers nobody.
type noAgents struct{}

func (noAgents) SaveAgents(context.Context, []ca.AgentRow) error { return nil }
func (noAgents) Agents(context.Context) ([]ca.AgentRow, error)   { return nil, nil }

var errNoFeed = errors.New("no signer")

// testClock is the system's, set forward.
type testClock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}
