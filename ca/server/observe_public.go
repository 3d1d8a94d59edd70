package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"

	"github.com/valyala/fasthttp"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/logging"
)

// observePublished is observe for what the publisher answers: an id, a line in the log,
// metrics, and an answer if it panics, which fasthttp leaves to its handlers.
func (s *Server) observePublished(ctx *fasthttp.RequestCtx) {
	n := note{id: rand.Text(), route: publicRoute}
	ctx.Response.Header.Set(api.HeaderRequestID, n.id)
	begin := s.cfg.Now()
	s.metrics.inFlight.Inc()
	defer func() {
		s.metrics.inFlight.Dec()
		if cause := recover(); cause != nil {
			s.rescuePublished(ctx, &n, cause)
		}
		took := s.cfg.Now().Sub(begin)
		status := ctx.Response.StatusCode()
		s.metrics.observePublished(status, took)
		if level := n.level(status, ctx.IsGet() || ctx.IsHead()); s.cfg.Logger.Enabled(context.Background(), level) {
			s.log(withID(&n), level, &n, answered{
				status: status, remote: ctx.RemoteAddr().String(), bytes: int64(len(ctx.Response.Body())), took: took,
			})
		}
	}()
	s.cfg.Revocations.ServeFastHTTP(ctx)
}

// withID is the context of the request's lines in the log. A RequestCtx would do, if it
// were not used again for another request while somebody still holds it.
func withID(n *note) context.Context {
	return logging.With(context.Background(), slog.String("request_id", n.id))
}

func (s *Server) rescuePublished(ctx *fasthttp.RequestCtx, n *note, cause any) {
	s.panicked(withID(n), n, cause)
	ctx.Response.Reset()
	ctx.Response.Header.Set(api.HeaderRequestID, n.id)
	e := public(errPanicked)
	e.RequestID = n.id
	n.code, n.cause = e.Code, errPanicked
	body, err := json.Marshal(api.ErrorBody{Error: e})
	if err != nil {
		body = nil // the status says it
	}
	ctx.SetStatusCode(e.Status)
	ctx.SetContentType(mediaJSON)
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	ctx.SetBody(body)
}
