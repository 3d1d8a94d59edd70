package localapi

import (
	"context"
	"net"
	"sync"

	"github.com/handfast/handfast/agent/followers"
	"github.com/handfast/handfast/certs"
)

// line is a connection as the requests on it see it, one after the other.
type line struct {
	conn net.Conn
	old  *followers.Follower // who it is, when it is a program with an older library
	// What was sent last, and its ETag.
	etag string
	has  *certs.Snapshot
}

type lineKey struct{}

func withLine(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, lineKey{}, &line{conn: conn})
}

// lineOf returns the request's connection. Without a server, as in a test of the handler alone, there is none.
func lineOf(ctx context.Context) *line {
	if l, ok := ctx.Value(lineKey{}).(*line); ok {
		return l
	}
	return &line{}
}

// bounded is a listener that closes at once what exceeds its bound: its client tries again later.
type bounded struct {
	net.Listener
	free chan struct{} // has an element for each open connection
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.free <- struct{}{}:
			return &boundedConn{Conn: conn, leave: sync.OnceFunc(func() { <-b.free })}, nil
		default:
			conn.Close() //nolint:errcheck // it is not wanted
		}
	}
}

type boundedConn struct {
	net.Conn
	leave func()
}

func (c *boundedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
