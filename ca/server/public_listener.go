package server

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// publicListener does for fasthttp what net/http does by itself: it outlives a lack of
// descriptors, knows its connections so that they can be cut, and lets a client that
// still sends read the answer.
type publicListener struct {
	net.Listener
	goodbye time.Duration // how long a client that still sends is read to its end
	ended   chan struct{} // closed by Close
	once    sync.Once

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

// cut closes every connection.
func (l *publicListener) cut() {
	l.mu.Lock()
	open := make([]*publicConn, 0, len(l.open))
	for c := range l.open {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		c.Conn.Close() //nolint:errcheck // whoever serves it closes it once more
	}
}

const lingerUpTo = 1 << 20

// publicConn is a connection of a publicListener.
type publicConn struct {
	net.Conn
	listener *publicListener
	unread   bool // set by who serves it: the client may still be sending
}

// Close closes the connection. To close it while octets arrive would reset it, and the
// client might never read why; so it goes on reading for a moment then.
func (c *publicConn) Close() error {
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
