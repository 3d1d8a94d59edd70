package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errIdle      = errors.New("no byte came in either direction within the idle timeout")
	errTruncated = errors.New("the stream was cut: it ended without TLS's close_notify")
)

// pump copies in both directions until both have ended, one has failed, or nothing has
// moved for idle. The end of one direction is passed on as such (FIN, close_notify) and the
// other goes on. A failure, a stream that was cut without close_notify among them, is
// passed on as a reset, so that nobody takes a part for the whole. Both are closed when
// finished is called.
//
// Each direction has a goroutine of its own from its beginning, and the caller's may end: a stack on which a
// handshake was made stays large, and most connections wait most of the time.
type pump struct {
	local, peer net.Conn
	idle        time.Duration
	count       func(toPeer bool, n int)
	finished    func(error) // called once, by the direction that ends last

	began    time.Time
	moved    atomic.Int64 // since began; when bytes moved last
	timedOut atomic.Bool
	watch    *time.Timer
	once     sync.Once
	failed   error
	running  atomic.Int32 // directions
}

// start returns at once.
func (p *pump) start() {
	p.began = time.Now()
	p.running.Store(2)
	p.watch = time.AfterFunc(math.MaxInt64, p.look)
	p.watch.Reset(p.idle) // not before look can see watch
	go p.copy(p.peer, p.local)
	go p.copy(p.local, p.peer)
}

// look cuts what is idle.
func (p *pump) look() {
	quiet := time.Since(p.began) - time.Duration(p.moved.Load())
	if quiet < p.idle {
		p.watch.Reset(p.idle - quiet)
		return
	}
	p.timedOut.Store(true)
	abort(p.local)
	abort(p.peer)
}

// copy is one direction.
func (p *pump) copy(dst, src net.Conn) {
	if err := p.copyOneWay(dst, src); err != nil {
		p.once.Do(func() {
			p.failed = err
			abort(p.local)
			abort(p.peer)
		})
	}
	if p.running.Add(-1) > 0 {
		return
	}
	p.watch.Stop()
	if p.timedOut.Load() {
		p.failed = errIdle
	}
	p.local.Close() //nolint:errcheck // ended or reset already
	p.peer.Close()  //nolint:errcheck // ended or reset already
	p.finished(p.failed)
}

func (p *pump) touch() { p.moved.Store(int64(time.Since(p.began))) }

// copyOneWay copies until src ends, and then ends dst's direction.
func (p *pump) copyOneWay(dst, src net.Conn) error {
	from, to := sourceOf(src), sinkOf(dst)
	for {
		b, err := from.next()
		if len(b) > 0 {
			p.touch()
			p.count(dst == p.peer, len(b))
			if err := to(b); err != nil {
				return &sideError{writing: true, conn: dst, err: err}
			}
			p.touch()
		}
		if errors.Is(err, io.EOF) {
			if truncated(src) {
				return &sideError{conn: src, err: errTruncated}
			}
			return closeWrite(dst)
		}
		if err != nil {
			return &sideError{conn: src, err: err}
		}
	}
}

// truncated reports whether a TLS stream ended by the end of its transport. crypto/tls takes that for
// an orderly end when it falls between two records, and anyone on the way can bring it about.
func truncated(src net.Conn) bool {
	secure, ok := src.(*tls.Conn)
	if !ok {
		return false
	}
	raw, ok := secure.NetConn().(*rawConn)
	return ok && raw.ended.Load()
}

// sideError says on which side the copy failed.
type sideError struct {
	writing bool
	conn    net.Conn
	err     error
}

func (e *sideError) Error() string {
	side, doing := "the local side", "reading from "
	if _, isTLS := e.conn.(*tls.Conn); isTLS {
		side = "the peer"
	}
	if e.writing {
		doing = "writing to "
	}
	return doing + side + ": " + e.err.Error()
}

func (e *sideError) Unwrap() error { return e.err }

// closeWrite ends one direction: close_notify for TLS, FIN for a socket.
func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return conn.Close()
	}
	if err := half.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
		return &sideError{writing: true, conn: conn, err: err}
	}
	return nil
}

// abort closes so that the other side sees a failure and no orderly end: without
// close_notify, and with a reset where the transport has one.
func abort(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
		tcp.SetLinger(0) //nolint:errcheck // without it the close is only less clear
	}
	conn.Close() //nolint:errcheck // it is given up
}
