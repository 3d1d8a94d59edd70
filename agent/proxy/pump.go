package proxy

import (
	"crypto/tls"
	"errors"
	"io"
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
// it returns.
func pump(local, peer net.Conn, idle time.Duration, count func(toPeer bool, n int)) error {
	var moved atomic.Int64 // since an arbitrary start; when bytes moved last
	start := time.Now()
	var timedOut atomic.Bool
	var watch *time.Timer
	watch = time.AfterFunc(idle, func() {
		quiet := time.Since(start) - time.Duration(moved.Load())
		if quiet < idle {
			watch.Reset(idle - quiet)
			return
		}
		timedOut.Store(true)
		abort(local)
		abort(peer)
	})
	defer watch.Stop()
	touch := func(toPeer bool) func(int) {
		return func(n int) {
			moved.Store(int64(time.Since(start)))
			count(toPeer, n)
		}
	}
	var once sync.Once
	var failed error
	run := func(err error) {
		if err == nil {
			return
		}
		once.Do(func() {
			failed = err
			abort(local)
			abort(peer)
		})
	}
	var other sync.WaitGroup
	other.Go(func() { run(copyOneWay(peer, local, touch(true))) })
	run(copyOneWay(local, peer, touch(false)))
	other.Wait()
	if timedOut.Load() {
		failed = errIdle
	}
	local.Close() //nolint:errcheck // ended or reset already
	peer.Close()  //nolint:errcheck // ended or reset already
	return failed
}

// copyOneWay copies until src ends, and then ends dst's direction.
func copyOneWay(dst, src net.Conn, moved func(int)) error {
	from, to := sourceOf(src), sinkOf(dst)
	for {
		b, err := from.next()
		if len(b) > 0 {
			moved(len(b))
			if err := to(b); err != nil {
				return &sideError{writing: true, conn: dst, err: err}
			}
			moved(0)
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
