package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/handfast/handfast/certs"
)

// peerConn is a verified connection without its type: net/http must not take it for one
// that it has to shake hands on.
type peerConn struct {
	net.Conn
	peer   certs.Peer
	begun  []byte // what a lane has read of it
	once   sync.Once
	closed chan struct{}
}

func (c *peerConn) Read(b []byte) (int, error) {
	if len(c.begun) > 0 {
		n := copy(b, c.begun)
		c.begun = c.begun[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *peerConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// CloseWrite passes half-close on for upgraded connections.
func (c *peerConn) CloseWrite() error { return closeWrite(c.Conn) }

// handoff is a net.Listener whose connections are given to it.
type handoff struct {
	addr   net.Addr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *handoff) give(ctx context.Context, conn net.Conn) bool {
	select {
	case h.conns <- conn:
		return true
	case <-h.closed:
	case <-ctx.Done():
	}
	return false
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h.addr }

// trailerBody copies the request's trailers, which are known at its end, to where the
// transport looks for them.
type trailerBody struct {
	io.ReadCloser
	from, to http.Header
}

func (b *trailerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		for name := range b.to {
			b.to[name] = b.from[name]
		}
	}
	return n, err
}
