package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logging"
)

// note is what the access log says about a request. One goroutine at a time owns it:
// the one that handles the request.
type note struct {
	id     string
	route  string
	caller certs.ID
	code   api.Code
	cause  error
	told   bool // the audit log says what came of it
}

type noteKey struct{}

// noteOf never returns nil, so that a handler works outside observe as well.
func noteOf(ctx context.Context) *note {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		return n
	}
	return &note{}
}

// observe gives each request an id, a line in the log and its metrics, and turns a
// panic into an answer. listener is "api" or "public".
func (s *Server) observe(listener string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := &note{id: rand.Text(), route: listener + " unknown"}
		recorder := &recorder{ResponseWriter: w}
		w.Header().Set(api.HeaderRequestID, n.id)
		ctx := logging.With(r.Context(), slog.String("request_id", n.id), slog.String("remote", r.RemoteAddr))
		r = r.WithContext(context.WithValue(ctx, noteKey{}, n))
		begin := s.cfg.Now()
		s.metrics.inFlight.Inc()
		defer func() {
			s.metrics.inFlight.Dec()
			if cause := recover(); cause != nil {
				s.rescue(recorder, r, n, cause)
			}
			took := s.cfg.Now().Sub(begin)
			s.metrics.observe(n.route, recorder.code(), took)
			read := r.Method == http.MethodGet || r.Method == http.MethodHead
			if level := n.level(recorder.code(), read); s.cfg.Logger.Enabled(ctx, level) {
				s.log(ctx, level, n, answered{status: recorder.code(), bytes: recorder.bytes, took: took})
			}
		}()
		next.ServeHTTP(recorder, r)
	})
}

// rescue answers instead of a handler that panicked. The stack goes to the log, the
// panic's value does not: it could hold a request's secret.
func (s *Server) rescue(w *recorder, r *http.Request, n *note, cause any) {
	s.panicked(r.Context(), n, cause)
	if w.status != 0 {
		n.code = api.CodeInternal // too late for an answer
		return
	}
	s.refuse(w, r, errPanicked)
}

// panicked counts and logs a panic with its stack.
func (s *Server) panicked(ctx context.Context, n *note, cause any) {
	s.metrics.panics.Inc()
	s.cfg.Logger.LogAttrs(ctx, slog.LevelError, "a handler panicked",
		slog.String("route", n.route),
		slog.String("kind", fmt.Sprintf("%T", cause)), slog.String("stack", string(debug.Stack())))
}

// answered is what the log says of a response.
type answered struct {
	status int
	remote string // "" where the context says it
	bytes  int64
	took   time.Duration
}

// level is that of a request's line in the log; read says whether its method only reads. Where the audit log has a line
// already, with the same id and address, another would say nothing that an operator looks for.
func (n *note) level(status int, read bool) slog.Level {
	switch {
	case status == http.StatusInternalServerError:
		return slog.LevelError
	case status > http.StatusInternalServerError:
		return slog.LevelWarn
	case n.route == publicRoute, (read || n.told) && status < 400:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// log writes one line. Its fields are documented in docs/operations.md; no header, body,
// query or path stands in it, because those can hold what a client should not have sent.
func (s *Server) log(ctx context.Context, level slog.Level, n *note, a answered) {
	attrs := append(make([]slog.Attr, 0, 8), slog.String("route", n.route), slog.Int("status", a.status))
	if a.remote != "" {
		attrs = append(attrs, slog.String("remote", a.remote))
	}
	attrs = append(attrs, slog.Duration("took", a.took), slog.Int64("bytes", a.bytes))
	if !n.caller.IsZero() {
		attrs = append(attrs, slog.String("caller", n.caller.String()))
	}
	if n.code != "" {
		attrs = append(attrs, slog.String("code", string(n.code)))
	}
	if n.cause != nil {
		attrs = append(attrs, slog.String("error", n.cause.Error()))
	}
	s.cfg.Logger.LogAttrs(ctx, level, "request", attrs...)
}

// recorder remembers what was answered. It is used by one goroutine.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

func statusLabel(code int) string { return strconv.Itoa(code) }
