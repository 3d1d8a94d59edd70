package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"
)

// maxPublicConns is how many connections the public listener keeps. One takes about 35 KB
// while it is open, and a descriptor that the API may need; whoever comes on top is told
// 503 at once.
const maxPublicConns = 8192

// smallBody is how many octets come with the header: they get no time of their own.
const smallBody = 1 << 10

// publicServer serves the plain HTTP listener by fasthttp: an OCSP response that is kept
// costs less than net/http takes around it. Its limits are those of the other listeners.
type publicServer struct {
	fast      *fasthttp.Server
	listening *publicListener
}

func (s *Server) newPublicServer(l *publicListener) *publicServer {
	limits, handler := s.cfg.Limits, s.Public()
	l.newLane = s.newLane
	return &publicServer{listening: l, fast: &fasthttp.Server{
		Handler:      handler,
		ErrorHandler: refuseUnread(handler),
		// The first deadline covers the header and a small body, such as an OCSP request; a
		// longer one gets the time of a whole request.
		ReadTimeout: limits.ReadHeader,
		HeaderReceived: func(header *fasthttp.RequestHeader) (config fasthttp.RequestConfig) {
			if n := header.ContentLength(); n < 0 || n > smallBody {
				config.ReadTimeout = limits.Read
			}
			return config
		},
		WriteTimeout:       limits.Write,
		IdleTimeout:        limits.Idle,
		ReadBufferSize:     maxHeader + 4096, // what net/http makes of MaxHeaderBytes
		MaxRequestBodySize: maxPublic,
		Concurrency:        maxPublicConns,
		CloseOnShutdown:    true,
		LazyRequestTime:    true,

		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true, // an OCSP request is octets
		SecureErrorLogMessage:        true,
		Logger:                       slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}}
}

func (p *publicServer) serve() error { return p.fast.Serve(p.listening) }

// shutdown finishes what was asked until ctx ends, and then cuts what is left.
func (p *publicServer) shutdown(ctx context.Context) error {
	// fasthttp knows of the listener only once Serve has begun.
	if err := p.listening.Close(); err != nil {
		return err
	}
	p.listening.stop()
	err := p.fast.ShutdownWithContext(ctx)
	if err != nil {
		p.listening.cut()
	}
	return err
}

// refuseUnread answers requests that could not be read to their end. One with too long a
// body is handled without it: what it asked for decides on the answer, and to OCSP an
// empty request is a malformed one.
func refuseUnread(handler fasthttp.RequestHandler) func(*fasthttp.RequestCtx, error) {
	return func(ctx *fasthttp.RequestCtx, err error) {
		if conn, ok := ctx.Conn().(*publicConn); ok {
			conn.unread = true
		}
		status := http.StatusBadRequest
		var timeout net.Error
		switch {
		case errors.Is(err, fasthttp.ErrBodyTooLarge):
			ctx.Request.ResetBody()
			handler(ctx)
			return
		case isSmallBuffer(err):
			status = http.StatusRequestHeaderFieldsTooLarge
		case errors.As(err, &timeout) && timeout.Timeout():
			status = http.StatusRequestTimeout
		}
		ctx.SetStatusCode(status)
		ctx.SetContentType(mediaPlain)
		ctx.SetBodyString(strconv.Itoa(status) + " " + http.StatusText(status))
	}
}

func isSmallBuffer(err error) bool {
	_, ok := errors.AsType[*fasthttp.ErrSmallBuffer](err)
	return ok
}
