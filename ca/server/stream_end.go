package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/logging"
)

// drained is how much more of a client that was refused is read, so that what it was told reaches it: a connection
// that is closed with octets unread is reset.
const drained = 64 << 10

// finish says why the stream ends, to the agent, the fleet and the log.
func (st *stream) finish() {
	cause := *st.why.Load()
	st.writing.Lock() // who writes gives up within Server.goodbye
	defer st.writing.Unlock()
	n := &note{id: st.id, route: api.FeedProtocol, caller: st.peer.ID}
	plain := errors.Is(cause, errGone) || errors.Is(cause, errStops)
	if !plain {
		cause = streamError(cause)
		told := public(cause)
		told.RequestID = n.id
		n.code, n.cause = told.Code, cause
		st.farewell(told)
	}
	if errors.Is(cause, errStops) {
		st.member.Stop()
	}
	st.conn.NetConn().Close() //nolint:errcheck // who took the farewell has had TLS's, too; nobody else waits for it
	if plain && st.member == nil {
		return // nobody has asked for anything
	}
	st.log(n)
}

// farewell tells the agent, and waits until it has hung up or had the time for it.
func (st *stream) farewell(told *api.Error) {
	text, err := json.Marshal(told)
	if err != nil {
		return // an Error is three strings
	}
	_ = st.conn.SetWriteDeadline(time.Now().Add(st.server.goodbye))
	written, err := st.conn.Write(feed.AppendMessage(nil, feed.EndMessage, text))
	st.bytes += int64(written)
	if err != nil || st.conn.CloseWrite() != nil {
		return
	}
	_ = st.conn.SetReadDeadline(time.Now().Add(st.server.goodbye))
	_, _ = io.CopyN(io.Discard, st.conn, drained)
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
