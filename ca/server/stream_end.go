package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/ca/server/sockets"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/logging"
)

// drained is how much more of a client that was refused is read, so that what it was told reaches it: a connection
// that is closed with octets unread is reset.
const drained = 64 << 10

// finish says why the stream ends, to the agent, the fleet and the log.
func (st *stream) finish() {
	st.writing.Lock()
	defer st.writing.Unlock()
	cause := *st.why.Load()
	if st.stuck != nil {
		st.stuck.Stop()
	}
	st.rest = nil
	n := &note{id: rand.Text(), route: api.FeedProtocol, caller: st.peer.ID}
	plain := errors.Is(cause, errGone) || errors.Is(cause, errStops)
	last := &parting{stream: st}
	if plain {
		last.close()
	} else {
		cause = streamError(cause)
		told := public(cause)
		told.RequestID = n.id
		n.code, n.cause = told.Code, cause
		st.farewell(told, last)
	}
	st.leave(errors.Is(cause, errStops))
	if plain && st.member == nil {
		return // nobody has asked for anything
	}
	st.log(n)
}

// leave takes the stream out of the chorus and the fleet. st.writing is held.
func (st *stream) leave(stops bool) {
	if st.member == nil {
		return
	}
	st.server.chorus.leave(st)
	if stops {
		st.member.Stop()
	} else {
		st.member.Leave()
	}
	st.server.metrics.streams.Dec()
}

// farewell tells the agent, and lets the connection be until it has hung up or had the time for it. st.writing is held.
func (st *stream) farewell(told *api.Error, last *parting) {
	text, err := json.Marshal(told)
	if err == nil { // an Error is three strings
		err = st.write(feed.AppendMessage(nil, feed.EndMessage, text))
	}
	if err != nil || st.conn.CloseWrite() != nil {
		last.close()
		return
	}
	last.timer = time.AfterFunc(st.server.goodbye, last.close)
	st.last.Store(last)
	last.drain() // Readable did not while the end was on its way
}

// parting is a connection whose agent has been told why it ends.
type parting struct {
	stream *stream
	timer  *time.Timer
	closed sync.Once

	mu   sync.Mutex
	read int // octets since then; guarded by mu
}

// drain reads what is there, to the end if it is.
func (p *parting) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var octets [512]byte
	for p.read < drained {
		n, err := p.stream.conn.Read(octets[:])
		if p.read += n; errors.Is(err, sockets.ErrNotYet) {
			return
		}
		if err != nil {
			break
		}
	}
	p.timer.Stop()
	p.close()
}

// close hangs up. Who took the farewell has had TLS's, too; nobody else waits for it.
func (p *parting) close() {
	p.closed.Do(func() {
		p.stream.socket.Close() //nolint:errcheck // there is nothing to be done about it
		p.stream.server.metrics.inFlight.Dec()
		p.stream.server.chorus.exit()
	})
}

// log writes the stream's line. Its status is that of the answer: 200 when the agent was admitted.
func (st *stream) log(n *note) {
	s, status := st.server, http.StatusOK
	if st.member == nil {
		status = n.code.HTTPStatus()
	}
	took := s.cfg.Now().Sub(st.began)
	s.metrics.observe(n.route, status, took)
	ctx := logging.With(context.Background(), slog.String("request_id", n.id))
	if level := n.level(status, false); s.cfg.Logger.Enabled(ctx, level) {
		s.log(ctx, level, n, answered{status: status, remote: st.conn.RemoteAddr().String(), bytes: st.bytes, took: took})
	}
}

func isRevoked(err error) bool {
	told, ok := errors.AsType[*api.Error](err)
	return ok && (told.Code == api.CodeRevoked || told.Code == api.CodeHeld)
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
