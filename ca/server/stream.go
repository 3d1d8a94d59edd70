package server

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
)

const (
	// silence is how long an agent may say nothing: it repeats itself every api.FeedAlive.
	silence = 3 * api.FeedAlive
	// piece is how much is written under one deadline, so that a large snapshot may take its time.
	piece = 64 << 10
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
	NetConn() net.Conn
}

// stream is one agent's, over api.FeedProtocol. There are thousands: each has one goroutine, which reads, and
// neither a buffer nor a timer of its own. The chorus writes.
type stream struct {
	server *Server
	conn   halfConn
	id     string // of the request, for the log
	began  time.Time

	peer   ca.Peer
	chain  []*x509.Certificate
	issuer string // key identifier, hexadecimal
	member *fleet.Member
	place  int // among the chorus's streams; guarded by chorus.mu

	checked time.Time     // when the certificate was looked at last; the chorus's watch alone uses it
	heard   atomic.Int64  // when the agent said something, as time since the server's start
	sent    atomic.Uint64 // the position of what was written, or is about to be
	calls   atomic.Int32  // of news that were not followed yet; who raised it from 0 writes
	writing sync.Mutex    // held by who writes
	cursor  Cursor        // guarded by writing
	bytes   int64         // written; guarded by writing
	why     atomic.Pointer[error]
	ack     [api.AckSize]byte
}

// serveStream is an agent's connection, from the handshake to the end.
func (s *Server) serveStream(conn *tls.Conn) {
	st := &stream{server: s, conn: conn, chain: conn.ConnectionState().PeerCertificates, id: rand.Text(), began: s.cfg.Now()}
	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	first, err := st.open()
	if err == nil {
		s.metrics.streams.Inc()
		defer s.metrics.streams.Dec()
		defer st.member.Leave()
		defer s.chorus.leave(st)
		st.begin(first)
		err = st.listen()
	}
	st.end(err)
	st.finish()
}

// open admits the agent, and returns what the feed says first.
func (st *stream) open() (first []byte, err error) {
	defer st.rescue(&err)
	s := st.server
	if st.peer, err = s.authenticate(s.chorus.ctx, st.chain); err != nil {
		return nil, err
	}
	if st.peer.Kind != ca.KindService {
		return nil, wrongKind(st.peer)
	}
	hello, err := st.readHello()
	if err != nil {
		return nil, err
	}
	f, err := s.follow(s.chorus.ctx, st.peer, hello, st.conn.RemoteAddr().String())
	if err != nil {
		return nil, err
	}
	st.cursor, st.issuer, f.joined.End = f.cursor, f.joined.Issuer, st.end
	st.checked = st.began.Add(-spread(st.peer.Certificate))
	st.calls.Store(1) // the first word is begin's
	st.hears()
	if st.member, err = s.cfg.Fleet.Join(f.joined); err != nil {
		return nil, streamError(err)
	}
	s.chorus.join(st)
	return f.first, nil
}

func (st *stream) readHello() (api.FeedHello, error) {
	s := st.server
	_ = st.conn.SetReadDeadline(time.Now().Add(s.cfg.Limits.ReadHeader))
	if err := s.chorus.greet(st.conn); err != nil {
		return api.FeedHello{}, err
	}
	hello, err := api.ReadFeedHello(st.conn)
	s.chorus.greeted(st.conn)
	_ = st.conn.SetReadDeadline(time.Time{})
	switch {
	case err == nil:
		return hello, nil
	case s.chorus.ctx.Err() != nil:
		return hello, streamError(fleet.ErrClosed)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return hello, badRequest("no hello came within %v", s.cfg.Limits.ReadHeader)
	case errors.Is(err, io.EOF):
		return hello, errGone
	default:
		return hello, badRequest("the hello: %v", err)
	}
}

// begin writes the first word, and what is new since then.
func (st *stream) begin(first []byte) {
	var err error
	defer func() {
		if err != nil {
			st.end(err)
		}
	}()
	defer st.rescue(&err)
	st.writing.Lock()
	err = st.say(first, nil)
	st.writing.Unlock()
	if err == nil {
		st.follow(false)
	}
}

// news makes sure that the agent is told what is new, by the caller or by who is writing to it already. It reports
// whether that was put off, because the certificate is revoked and mayWait says that others come first.
func (st *stream) news(mayWait bool) (late bool) {
	var err error
	defer func() {
		if err != nil {
			st.end(err)
		}
	}()
	defer st.rescue(&err)
	if st.calls.Add(1) > 1 {
		return false
	}
	return st.follow(mayWait)
}

// follow tells what is new until nobody has called for it meanwhile.
func (st *stream) follow(mayWait bool) (late bool) {
	for {
		calls := st.calls.Load()
		late = st.tell(mayWait)
		if st.calls.CompareAndSwap(calls, 0) {
			return late
		}
	}
}

// tell writes what the cursor has to say now. An agent whose certificate has been revoked or put
// on hold is told of that by the statement that says so, which tells why, before it is told no more.
func (st *stream) tell(mayWait bool) (late bool) {
	st.writing.Lock()
	defer st.writing.Unlock()
	for st.why.Load() == nil && st.cursor.Behind() {
		fallen := st.stands()
		if mayWait && isRevoked(fallen) {
			return true
		}
		if fallen != nil && !isRevoked(fallen) {
			st.end(fallen)
			return false
		}
		messages, err := st.cursor.Next(st.server.chorus.ctx)
		if err != nil {
			st.end(feedError(err))
			return false
		}
		if err := st.say(messages, fallen); err != nil {
			st.end(err)
		}
	}
	return false
}

// say writes messages of the feed; fallen is why they are the last. st.writing is held.
func (st *stream) say(messages []byte, fallen error) error {
	st.sent.Store(st.cursor.Position())
	if err := st.write(messages); err != nil {
		return err
	}
	return fallen
}

// write has st.writing held.
func (st *stream) write(octets []byte) error {
	for len(octets) > 0 {
		part := octets[:min(len(octets), piece)]
		_ = st.conn.SetWriteDeadline(time.Now().Add(st.server.cfg.Limits.Write))
		if st.why.Load() != nil { // looked at after the deadline was set, which end sets after why
			return errGone
		}
		n, err := st.conn.Write(part)
		st.bytes += int64(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errSlow
		}
		if err != nil {
			return errGone
		}
		octets = octets[len(part):]
	}
	return nil
}

// listen takes acknowledgements, and returns why there are no more.
func (st *stream) listen() (err error) {
	defer st.rescue(&err)
	for n := 0; ; {
		m, err := st.conn.Read(st.ack[n:])
		n += m
		switch {
		case n == api.AckSize:
			if err := st.acknowledge(binary.BigEndian.Uint64(st.ack[:])); err != nil {
				return err
			}
			n = 0
		case err == nil:
		case n > 0 && errors.Is(err, io.EOF):
			return badRequest("an acknowledgement has %d octets", api.AckSize)
		default:
			return errGone
		}
	}
}

func (st *stream) acknowledge(sequence uint64) error {
	if sequence == api.AckStops {
		return errStops
	}
	if sent := st.sent.Load(); sequence > sent {
		return badRequest("acknowledged %d, but %d is the last that was sent", sequence, sent)
	}
	st.hears()
	st.member.Ack(sequence)
	return nil
}

// hears notes that the agent lives, by a clock that nobody sets.
func (st *stream) hears() { st.heard.Store(int64(st.server.chorus.age())) }

// end makes the stream end for cause, unless it does already. It does not wait.
func (st *stream) end(cause error) {
	if !st.why.CompareAndSwap(nil, &cause) {
		return
	}
	_ = st.conn.SetReadDeadline(time.Unix(1, 0))
	_ = st.conn.SetWriteDeadline(time.Now().Add(st.server.goodbye))
}

// rescue makes a panic the reason of an end.
func (st *stream) rescue(err *error) {
	if cause := recover(); cause != nil {
		st.server.panicked(st.server.chorus.ctx, &note{id: st.id, route: api.FeedProtocol}, cause)
		*err = errPanicked
	}
}
