package proxy

import (
	"container/list"
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// strangerGrace is how long a handshake may take when the listener is full. One between hosts that are
// far from each other takes a few tenths of a second.
const strangerGrace = time.Second

// errCrowdedOut ends a handshake that somebody else has to make way for.
var errCrowdedOut = errors.New("the listener is full and the handshake did not come to its end: it made way for others")

// strangers are the connections that have not said who they are, the oldest first. When a listener is
// full the oldest makes way: else a few thousand idle connections would keep every peer out.
type strangers struct {
	grace time.Duration

	mu      sync.Mutex
	waiting *list.List // of *stranger
}

type stranger struct {
	conn  net.Conn
	since time.Time
	place *list.Element
	out   bool // crowded out
}

func newStrangers() *strangers {
	return &strangers{grace: strangerGrace, waiting: list.New()}
}

// enter takes a connection in until leave.
func (s *strangers) enter(conn net.Conn) *stranger {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := &stranger{conn: conn, since: time.Now()}
	one.place = s.waiting.PushBack(one)
	return one
}

// leave says that the stranger is known now, or gone. It reports whether it was crowded out.
func (s *strangers) leave(one *stranger) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.Remove(one.place)
	return one.out
}

// makeWay ends the oldest handshake if its grace is over. It returns when to look again.
func (s *strangers) makeWay(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for place := s.waiting.Front(); place != nil; place = place.Next() {
		one := place.Value.(*stranger) //nolint:forcetypeassert // the list holds nothing else
		if one.out {
			continue // on its way
		}
		if left := s.grace - now.Sub(one.since); left > 0 {
			return left
		}
		one.out = true
		abort(one.conn)
		return s.grace // its place is free in a moment
	}
	return s.grace
}

// acquire takes a place. Who has to wait for one does so in the kernel's queue. It reports false
// when ctx ends before.
func (d *door) acquire(ctx context.Context) bool {
	for {
		select {
		case d.slots <- struct{}{}:
			return true
		default:
		}
		timer := time.NewTimer(d.strangers.makeWay(time.Now()))
		select {
		case d.slots <- struct{}{}:
			timer.Stop()
			return true
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}
