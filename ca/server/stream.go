package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
)

// stuck is for how long a client may take nothing of what is written to it.
const stuck = 90 * time.Second

// Why a stream ends that nobody has to be told of.
var (
	errGone  = errors.New("the agent is gone")
	errStops = errors.New("the agent stops")
)

// streamFeed follows the feed for an agent until either side ends it. Each agent has two
// goroutines: the request's writes, the other one reads acknowledgements.
func (s *Server) streamFeed(r *request) (*answer, error) {
	if r.http.ProtoMajor < 2 {
		return nil, badRequest("a stream needs HTTP/2; without it, poll with GET")
	}
	if r.http.Header.Get("Content-Type") != api.MediaFeed {
		return nil, badRequest("send Content-Type: %s", api.MediaFeed)
	}
	f, err := s.follow(r)
	if err != nil {
		return nil, err
	}
	st := &stream{server: s, request: r, cursor: f.cursor, first: f.first, issuer: f.joined.Issuer, checked: s.cfg.Now()}
	st.ctx, st.end = context.WithCancelCause(r.ctx())
	r.query = nil // nobody asks any more, and there are thousands
	f.joined.End = st.end
	if st.member, err = s.cfg.Fleet.Join(f.joined); err != nil {
		st.end(err)
		return nil, streamError(err)
	}
	return &answer{serve: st}, nil
}

// stream is one agent's. There are thousands: it has no buffer and no timer of its own.
type stream struct {
	server  *Server
	request *request
	member  *fleet.Member
	cursor  Cursor
	first   []byte
	issuer  string
	checked time.Time // when the certificate was looked at last

	ctx  context.Context // ends with why the stream ends
	end  context.CancelCauseFunc
	sent atomic.Uint64 // the position of what was written, or is about to be
	ack  [api.AckSize]byte
}

// ServeHTTP implements http.Handler.
func (st *stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := st.server
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	header := w.Header()
	header.Set("Content-Type", api.MediaFeed)
	header.Set("Trailer", api.HeaderFeedError)
	defer st.member.Leave() // also when something panics
	read := make(chan struct{})
	go st.readAcks(read)
	cause := st.deliver(w)
	st.end(cause)
	r.Body.Close() //nolint:errcheck // it makes the reader end
	<-read
	if errors.Is(cause, errStops) {
		st.member.Stop()
	}
	st.explain(r, header, cause)
}

// deliver writes what the cursor says until there is a reason to end. An agent whose certificate has been revoked or put
// on hold is told of that by the statement that says so, which tells why, before it is told no more.
func (st *stream) deliver(w http.ResponseWriter) error {
	s, control := st.server, http.NewResponseController(w)
	// The reader waits for ever: whether the client lives, HTTP/2's pings find out.
	_ = control.SetReadDeadline(time.Time{})
	var extended time.Time
	for messages := st.first; ; {
		st.first = nil
		fallen := s.stands(st.request, st.issuer, &st.checked)
		if fallen != nil && !isRevoked(fallen) {
			return fallen
		}
		if st.checked != extended { // with each thorough look, so once a minute
			extended = st.checked
			_ = control.SetWriteDeadline(time.Now().Add(standing + stuck))
		}
		st.sent.Store(st.cursor.Position())
		if _, err := w.Write(messages); err != nil {
			return errGone
		}
		if err := control.Flush(); err != nil {
			return errGone
		}
		if fallen != nil {
			return fallen
		}
		var err error
		if messages, err = st.cursor.Next(st.ctx); err != nil {
			if cause := context.Cause(st.ctx); cause != nil {
				return cause
			}
			return feedError(err)
		}
	}
}

func isRevoked(err error) bool {
	told, ok := errors.AsType[*api.Error](err)
	return ok && (told.Code == api.CodeRevoked || told.Code == api.CodeHeld)
}

// readAcks ends the stream when the agent says what cannot be, or nothing more.
func (st *stream) readAcks(done chan<- struct{}) {
	defer close(done)
	for {
		_, err := io.ReadFull(st.request.http.Body, st.ack[:])
		switch {
		case errors.Is(err, io.EOF):
			st.end(errStops)
			return
		case errors.Is(err, io.ErrUnexpectedEOF):
			st.end(badRequest("an acknowledgement has %d octets", api.AckSize))
			return
		case err != nil:
			st.end(errGone)
			return
		}
		sequence := binary.BigEndian.Uint64(st.ack[:])
		if sent := st.sent.Load(); sequence > sent {
			st.end(badRequest("acknowledged %d, but %d is the last that was sent", sequence, sent))
			return
		}
		st.member.Ack(sequence)
	}
}

// explain tells the agent and the log why the stream has ended, where there is more to say than that.
func (st *stream) explain(r *http.Request, header http.Header, cause error) {
	if errors.Is(cause, errGone) || errors.Is(cause, errStops) || r.Context().Err() != nil {
		return
	}
	cause = streamError(cause)
	told, note := public(cause), noteOf(r.Context())
	told.RequestID = note.id
	note.code, note.cause = told.Code, cause
	text, err := json.Marshal(told)
	if err != nil {
		return // an Error is three strings
	}
	header.Set(api.HeaderFeedError, string(text))
}

// streamError is what an agent is told when the fleet ended its connection.
func streamError(cause error) error {
	switch {
	case errors.Is(cause, fleet.ErrReplaced):
		return &api.Error{Code: api.CodeConflict, Message: "the agent, or another one with the same certificate, has connected anew"}
	case errors.Is(cause, fleet.ErrClosed):
		return &api.Error{Code: api.CodeUnavailable, Message: "the CA is stopping", Hint: "connect again"}
	default:
		return cause
	}
}

func keyID(octets []byte) string { return hex.EncodeToString(octets) }
