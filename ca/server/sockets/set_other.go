//go:build !linux

package sockets

// Set watches connections. The zero value is ready. Its methods are safe for concurrent use.
type Set struct{}

// Close does nothing here: a connection's goroutines end with it.
func (s *Set) Close() {}

// Take makes the Set tell owner of conn, which nobody else may use meanwhile. Readable is said at first in any
// case, for what crypto/tls may hold already. After an error conn is as it was, and the owner is told nothing.
func (s *Set) Take(conn *Conn, owner Owner) error { return takeByPump(conn, owner) }
