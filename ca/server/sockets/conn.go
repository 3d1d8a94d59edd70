package sockets

import (
	"errors"
	"net"
	"time"
)

// ErrNotYet is what Read returns when nothing is there. It is a net.Error, temporary and a timeout.
var ErrNotYet error = notYet{}

type notYet struct{}

func (notYet) Error() string   { return "nothing is there to be read yet" }
func (notYet) Timeout() bool   { return true }
func (notYet) Temporary() bool { return true }

// Owner is told of a connection. Its methods must not wait; a Set calls one of them at a time for a connection, also for
// a moment after Close.
type Owner interface {
	// Readable says that Read may have something, or an error. It is not said again before Read has returned ErrNotYet.
	Readable()
	// Writable says that nothing is kept any more of what was written.
	Writable()
}

// engine is how a connection works once a Set has it.
type engine interface {
	read(p []byte) (int, error)
	write(p []byte) (int, error)
	kept() int
	close() error
}

// Conn is a connection that works as the one it was made of until a Set takes it. After that it never waits,
// deadlines mean nothing, and its methods are safe for concurrent use.
type Conn struct {
	plain         net.Conn // nil once a Set has it
	taken         engine   // nil until then
	local, remote net.Addr
}

// New wraps a connection. Read, Write, Close and deadlines are its own until Set.Take.
func New(conn net.Conn) *Conn {
	return &Conn{plain: conn, local: conn.LocalAddr(), remote: conn.RemoteAddr()}
}

// Read reads what is there. When a Set has the connection it returns ErrNotYet instead of waiting.
func (c *Conn) Read(p []byte) (int, error) {
	if c.taken != nil {
		return c.taken.read(p)
	}
	return c.plain.Read(p)
}

// Write writes p. When a Set has the connection it takes all of p without waiting, and keeps what the system does not
// take; the caller bounds that by looking at Kept.
func (c *Conn) Write(p []byte) (int, error) {
	if c.taken != nil {
		return c.taken.write(p)
	}
	return c.plain.Write(p)
}

// Kept is how many octets were written and not taken by the system yet, 0 before Set.Take.
func (c *Conn) Kept() int {
	if c.taken == nil {
		return 0
	}
	return c.taken.kept()
}

// Close closes the connection; what is kept is lost.
func (c *Conn) Close() error {
	if c.taken != nil {
		return c.taken.close()
	}
	return c.plain.Close()
}

// LocalAddr returns the local address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline does nothing once a Set has the connection.
func (c *Conn) SetDeadline(t time.Time) error {
	if c.taken != nil {
		return nil
	}
	return c.plain.SetDeadline(t)
}

// SetReadDeadline does nothing once a Set has the connection.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.taken != nil {
		return nil
	}
	return c.plain.SetReadDeadline(t)
}

// SetWriteDeadline does nothing once a Set has the connection.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.taken != nil {
		return nil
	}
	return c.plain.SetWriteDeadline(t)
}

var errTwice = errors.New("sockets: a Set has the connection already")
