// Package memorynet is a network in memory, for tests that run by the clock of a synctest bubble:
// no time passes there while somebody computes, so that nothing comes too late on a busy machine.
package memorynet

import (
	"context"
	"net"
	"sync"
)

// Listener hands each connection that is dialled to Accept. The connections are net.Pipe's: they hold
// nothing, so that a peer which does not read holds up who writes at once. It is safe for concurrent use.
type Listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen returns a Listener. It takes nothing of the system, and need not be closed.
func Listen() *Listener {
	return &Listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for the next connection. After Close it returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial; connections stay.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns an address of the loopback, which a test's certificate names.
func (l *Listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// Dial connects, whatever network and address are: it is for a DialContext. It waits until the
// connection is accepted, the listener is closed (net.ErrClosed) or ctx ends.
func (l *Listener) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
