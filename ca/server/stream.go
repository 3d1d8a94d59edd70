package server

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/ca/server/sockets"
)

const (
	// silence is how long an agent may say nothing: it repeats itself every api.FeedAlive.
	silence = 3 * api.FeedAlive
	// piece is how much is written at once, and so about how much is kept for an agent that does not take it.
	piece = 16 << 10
)

// Why a stream ends.
var (
	errGone   = errors.New("the agent is gone")
	errStops  = errors.New("the agent stops")
	errSlow   = &api.Error{Code: api.CodeUnavailable, Message: "the agent takes nothing of what is sent to it", Hint: "connect again"}
	errSilent = &api.Error{Code: api.CodeUnavailable, Message: "nothing has been heard of the agent for " + silence.String(), Hint: "connect again"}
)

// halfConn is a *tls.Conn.
type halfConn interface {
	net.Conn
	CloseWrite() error
}

// stream is one agent's, over api.FeedProtocol. There are thousands: between its events each is memory alone, without a
// goroutine, a buffer or a timer. The chorus writes, and hears of what there is to be read.
type stream struct {
	server *Server
	conn   halfConn      // TLS, over socket
	socket *sockets.Conn // never waits
	began  time.Time

	peer   ca.Peer // without its certificate
	member *fleet.Member
	place  int // among the chorus's streams; guarded by chorus.mu

	notAfter int64     // of the certificate, milliseconds since 1970
	basis    basis     // on which it was authenticated; the chorus's watch alone uses it, and due
	due      time.Time // when it is authenticated anew; zero when the basis is what it was

	heard atomic.Int64  // when the agent said something, as time since the server's start
	sent  atomic.Uint64 // the position of what was written, or is about to be
	calls atomic.Int32  // of news that were not followed yet; who raised it from 0 writes
	why   atomic.Pointer[error]
	last  atomic.Pointer[parting] // once the agent has been told why

	writing sync.Mutex  // held by who writes, which never waits for the agent
	cursor  Cursor      // guarded by writing
	rest    []byte      // of what the cursor said last; guarded by writing
	fallen  error       // why rest is the last; guarded by writing
	stuck   *time.Timer // until when the agent has to take what is kept for it; nil is nothing; guarded by writing
	bytes   int64       // written; guarded by writing

	ack [api.AckSize]byte // Readable alone uses it
	got int               // octets of ack
}

// serveStream admits an agent's connection after its handshake. The stream lives on when it has returned.
func (s *Server) serveStream(conn *tls.Conn, socket *sockets.Conn) {
	st := &stream{server: s, conn: conn, socket: socket, began: s.cfg.Now()}
	chain := conn.ConnectionState().PeerCertificates
	s.metrics.inFlight.Inc()
	s.chorus.enter()
	st.writing.Lock()
	err := st.open(chain)
	clear(chain)                                           // it is the connection's own list, which would keep what nobody looks at any more
	ends := err != nil && st.why.CompareAndSwap(nil, &err) // before Readable may be called: who is refused is not listened to
	if lost := s.chorus.sockets.Take(socket, st); lost != nil {
		err = errGone // no descriptor is left to answer by
		ends = st.why.Swap(&err) == nil || ends
	}
	st.writing.Unlock()
	if ends {
		st.finish()
	}
	if err != nil {
		return
	}
	st.calls.Store(1)
	st.pursue(false)
}

// Writable goes on where the agent took no more. What is to be said now may have to be read from the ledger.
func (st *stream) Writable() {
	go func() {
		st.writing.Lock()
		st.stalled()
		st.writing.Unlock()
		st.news(false)
	}()
}

// news makes sure that the agent is told what is new, by the caller or by who is writing to it already. It reports
// whether that was put off, because the certificate is revoked and mayWait says that others come first.
func (st *stream) news(mayWait bool) (late bool) {
	if st.calls.Add(1) > 1 {
		return false
	}
	return st.pursue(mayWait)
}

// pursue tells what is new until nobody has called for it meanwhile.
func (st *stream) pursue(mayWait bool) (late bool) {
	var err error
	defer func() {
		if err != nil {
			st.end(err)
		}
	}()
	defer st.rescue(&err)
	for {
		calls := st.calls.Load()
		late, err = st.tell(mayWait)
		if st.calls.CompareAndSwap(calls, 0) || err != nil {
			return late
		}
	}
}

// tell writes what the cursor has to say now, or as much as the agent takes. An agent whose certificate has been revoked or put
// on hold is told of that by the statement that says so, which tells why, before it is told no more.
func (st *stream) tell(mayWait bool) (late bool, err error) {
	st.writing.Lock()
	defer st.writing.Unlock()
	for st.why.Load() == nil {
		if done, err := st.flow(); !done || err != nil {
			return false, err
		}
		if st.fallen != nil || !st.cursor.Behind() {
			return false, st.fallen
		}
		fallen := st.stands()
		if mayWait && isRevoked(fallen) {
			return true, nil
		}
		if fallen != nil && !isRevoked(fallen) {
			return false, fallen
		}
		messages, err := st.cursor.Next(st.server.chorus.ctx)
		if err != nil {
			return false, feedError(err)
		}
		st.sent.Store(st.cursor.Position())
		st.rest, st.fallen = messages, fallen
	}
	return false, nil
}

// flow writes the rest, and reports whether the agent took it all. st.writing is held.
func (st *stream) flow() (done bool, err error) {
	for len(st.rest) > 0 && st.socket.Kept() == 0 {
		part := st.rest[:min(len(st.rest), piece)]
		if err := st.write(part); err != nil {
			return false, err
		}
		st.rest = st.rest[len(part):]
	}
	done = len(st.rest) == 0
	if done {
		st.rest = nil // it is shared, and may be large
	}
	if st.stuck == nil {
		st.stalled()
	}
	return done, nil
}

// write has st.writing held.
func (st *stream) write(octets []byte) error {
	n, err := st.conn.Write(octets)
	st.bytes += int64(n)
	if err != nil {
		return errGone
	}
	return nil
}

// stalled gives the agent a time for taking what is kept for it, if anything is. A timer is for those alone. st.writing is held.
func (st *stream) stalled() {
	if st.stuck != nil {
		st.stuck.Stop()
		st.stuck = nil
	}
	if st.socket.Kept() > 0 && st.why.Load() == nil {
		st.stuck = time.AfterFunc(st.server.cfg.Limits.Write, func() { st.end(errSlow) })
	}
}

// end makes the stream end for cause, unless it does already. It does not wait.
func (st *stream) end(cause error) {
	if st.why.CompareAndSwap(nil, &cause) {
		go st.finish()
	}
}

// rescue makes a panic the reason of an end.
func (st *stream) rescue(err *error) {
	if cause := recover(); cause != nil {
		st.server.panicked(st.server.chorus.ctx, &note{route: api.FeedProtocol}, cause)
		*err = errPanicked
	}
}
