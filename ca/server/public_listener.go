package server

import (
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// publicListener does for fasthttp what net/http does by itself: it outlives a lack of
// descriptors, knows its connections so that they can be cut, and lets a client that
// still sends read the answer.
type publicListener struct {
	net.Listener
	goodbye  time.Duration // how long a client that still sends is read to its end
	ended    chan struct{} // closed by Close
	once     sync.Once
	newLane  func(*publicConn) *lane // nil: fasthttp reads everything
	stopping atomic.Bool

	mu   sync.Mutex
	open map[*publicConn]struct{} // guarded by mu
}

func newPublicListener(l net.Listener, goodbye time.Duration) *publicListener {
	return &publicListener{Listener: l, goodbye: goodbye, ended: make(chan struct{}), open: make(map[*publicConn]struct{})}
}

// Accept waits while the process has no descriptor left: fasthttp would stop serving.
func (l *publicListener) Accept() (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		conn, err := l.Listener.Accept()
		if err == nil {
			c := &publicConn{Conn: conn, listener: l}
			if l.newLane != nil {
				c.lane = l.newLane(c)
			}
			l.mu.Lock()
			l.open[c] = struct{}{}
			l.mu.Unlock()
			return c, nil
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return nil, err
		}
		select {
		case <-l.ended:
			return nil, net.ErrClosed
		case <-time.After(pause):
		}
	}
}

// Close ends Accept; connections stay. Only the first call does something.
func (l *publicListener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.ended)
		err = l.Listener.Close()
	})
	return err
}

// stop has the lanes answer what they have begun to read, and closes the connections that wait
// in one: fasthttp does not know whether they are idle.
func (l *publicListener) stop() {
	l.stopping.Store(true)
	for _, c := range l.all() {
		if c.state.CompareAndSwap(laneWaits, laneEnds) {
			c.Conn.Close() //nolint:errcheck // whoever serves it closes it once more
		}
	}
}

// cut closes every connection.
func (l *publicListener) cut() {
	for _, c := range l.all() {
		c.Conn.Close() //nolint:errcheck // whoever serves it closes it once more
	}
}

func (l *publicListener) all() []*publicConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.open))
}

const lingerUpTo = 1 << 20

// publicConn is a connection of a publicListener.
type publicConn struct {
	net.Conn
	listener *publicListener
	unread   bool         // set by who serves it: the client may still be sending
	lane     *lane        // nil once fasthttp reads; of who serves it
	state    atomic.Int32 // of the lane
}

// The states of a lane.
const (
	laneLeft  int32 = iota // there is none; also before the first request
	laneWorks              // a request is being read or answered
	laneWaits              // for another request
	laneEnds               // somebody wants the connection closed
)

// Read reads what the lane leaves.
func (c *publicConn) Read(p []byte) (int, error) {
	if c.lane == nil {
		return c.Conn.Read(p)
	}
	n, err := c.lane.run(p)
	c.lane = nil
	return n, err
}

// rest says that the lane waits for another request; it reports false if it must not.
func (c *publicConn) rest() bool {
	return c.state.CompareAndSwap(laneWorks, laneWaits) && !c.listener.stopping.Load()
}

// work says that octets came; it reports false if the connection is closed already.
func (c *publicConn) work() bool {
	return c.state.CompareAndSwap(laneWaits, laneWorks) || c.state.CompareAndSwap(laneLeft, laneWorks)
}

// Close closes the connection; fasthttp calls it when the server stops and it takes a connection for idle, which
// then ends with the answer that the lane is at. To close a connection while octets arrive
// would reset it, and the client might never read why; so it goes on reading for a moment then.
func (c *publicConn) Close() error {
	if c.state.CompareAndSwap(laneWorks, laneEnds) {
		return nil // whoever serves it closes it once more
	}
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	if half, ok := c.Conn.(interface{ CloseWrite() error }); c.unread && ok {
		if half.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(c.listener.goodbye)) == nil {
			io.CopyN(io.Discard, c.Conn, lingerUpTo) //nolint:errcheck // it ends in an error by design
		}
	}
	return c.Conn.Close()
}
