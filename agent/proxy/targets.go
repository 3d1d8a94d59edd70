package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// targets keeps plaintext connections to the local service that are between two requests. The one that
// was used last is used next, so that a quiet time lets the others go.
type targets struct {
	dial func(context.Context) (net.Conn, error)

	mu     sync.Mutex
	idle   []*target // the one that has waited longest first
	sweep  *time.Timer
	closed bool
}

// target is one connection to the local service.
type target struct {
	net.Conn
	raw   syscall.RawConn // nil if the connection has none
	since time.Time       // when it became idle

	probe [1]byte
	alive bool // what the last probe found
}

// get returns a connection and whether it was used before: then the service may close it at any moment.
func (t *targets) get(ctx context.Context) (conn *target, used bool, err error) {
	for {
		t.mu.Lock()
		last := len(t.idle) - 1
		if last < 0 {
			t.mu.Unlock()
			break
		}
		conn = t.idle[last]
		t.idle[last] = nil
		t.idle = t.idle[:last]
		t.mu.Unlock()
		if conn.usable() {
			return conn, true, nil
		}
		conn.Close() //nolint:errcheck // the service has closed it
	}
	conn, err = t.fresh(ctx)
	return conn, false, err
}

func (t *targets) fresh(ctx context.Context) (*target, error) {
	plain, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn := &target{Conn: plain}
	if system, ok := plain.(syscall.Conn); ok {
		if conn.raw, err = system.SyscallConn(); err != nil {
			return nil, errors.Join(err, plain.Close())
		}
	}
	return conn, nil
}

// put gives a connection back whose last response was read to its end.
func (t *targets) put(conn *target) {
	conn.since = time.Now()
	t.mu.Lock()
	if t.closed || len(t.idle) >= targetIdleMax {
		t.mu.Unlock()
		conn.Close() //nolint:errcheck // nothing is under way on it
		return
	}
	t.idle = append(t.idle, conn)
	if t.sweep == nil {
		t.sweep = time.AfterFunc(targetIdle, t.expire)
	}
	t.mu.Unlock()
}

// expire closes what has been idle for too long, and comes again while anything is idle.
func (t *targets) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	limit, n := time.Now().Add(-targetIdle), 0
	for n < len(t.idle) && !t.idle[n].since.After(limit) {
		t.idle[n].Close() //nolint:errcheck // nothing is under way on it
		n++
	}
	t.idle = append([]*target(nil), t.idle[n:]...)
	if t.sweep = nil; len(t.idle) > 0 && !t.closed {
		t.sweep = time.AfterFunc(time.Until(t.idle[0].since.Add(targetIdle)), t.expire)
	}
}

// close ends what is idle. What is in use ends when it is given back.
func (t *targets) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.sweep != nil {
		t.sweep.Stop()
	}
	for _, conn := range t.idle {
		conn.Close() //nolint:errcheck // nothing is under way on it
	}
	t.idle = nil
}

// usable reports whether the connection is open and silent: a service that has closed it, or that has said
// something without being asked, must not get another request on it.
func (c *target) usable() bool {
	if c.raw == nil {
		return true
	}
	c.alive = false
	err := c.raw.Read(c.look)
	return err == nil && c.alive
}

// look tries to read without waiting.
func (c *target) look(fd uintptr) bool {
	_, err := syscall.Read(int(fd), c.probe[:]) //nolint:gosec // a descriptor is an int
	c.alive = errors.Is(err, syscall.EAGAIN)
	return true
}
