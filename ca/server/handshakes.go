package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/server/sockets"
)

// handshakes is the API's listener. Each connection's handshake has a goroutine that ends with it: its stack grows to many
// kilobytes, which thousands of streams would otherwise keep for as long as they are open. The feed's connections
// go to their streams; Accept returns the others to net/http.
type handshakes struct {
	net.Listener
	server *Server
	config *tls.Config
	begin  sync.Once
	end    sync.Once
	done   chan accepted
	ended  chan struct{} // closed by Close

	mu   sync.Mutex
	open map[net.Conn]struct{} // whose handshake is not over; guarded by mu; nil after Close
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

func (s *Server) newHandshakes(l net.Listener) *handshakes {
	return &handshakes{
		Listener: l, server: s, config: s.TLSConfig(),
		done: make(chan accepted), ended: make(chan struct{}), open: make(map[net.Conn]struct{}),
	}
}

// Accept returns a connection whose handshake is over, or the listener's error.
func (h *handshakes) Accept() (net.Conn, error) {
	h.begin.Do(func() { go h.accept() })
	select {
	case a := <-h.done:
		return a.conn, a.err
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

// accept takes connections in until the listener fails for good. Who asks Accept gets each error, and says how long to wait
// by when it asks again.
func (h *handshakes) accept() {
	for {
		conn, err := h.Listener.Accept()
		if err == nil {
			go h.shake(conn)
			continue
		}
		if !h.hand(accepted{err: err}) {
			return
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return
		}
	}
}

// hand gives Accept something to return, and reports whether there will be more.
func (h *handshakes) hand(a accepted) bool {
	select {
	case h.done <- a:
		return true
	case <-h.ended:
		return false
	}
}

// shake does the handshake, in time, and hands the connection on.
func (h *handshakes) shake(raw net.Conn) {
	defer func() {
		if cause := recover(); cause != nil {
			h.server.panicked(context.Background(), &note{route: "handshake"}, cause)
			raw.Close() //nolint:errcheck // it is given up
		}
	}()
	if !h.enter(raw) {
		raw.Close() //nolint:errcheck // likewise
		return
	}
	socket := sockets.New(raw)
	conn := tls.Server(socket, h.config)
	_ = raw.SetDeadline(time.Now().Add(h.server.cfg.Limits.ReadHeader))
	err := conn.Handshake()
	_ = raw.SetDeadline(time.Time{})
	h.leave(raw)
	switch {
	case err != nil:
		h.failed(raw, err)
	case conn.ConnectionState().NegotiatedProtocol == api.FeedProtocol:
		h.server.serveStream(conn, socket)
	case !h.hand(accepted{conn: conn}):
		raw.Close() //nolint:errcheck // nobody serves it any more
	}
}

// failed closes a connection, and tells who speaks HTTP without TLS as net/http does.
func (h *handshakes) failed(raw net.Conn, err error) {
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		_ = raw.SetWriteDeadline(time.Now().Add(h.server.goodbye))
		_, _ = io.WriteString(raw, "HTTP/1.0 400 Bad Request\r\n\r\nThis is an HTTPS port: use https://.\n")
	}
	raw.Close() //nolint:errcheck // there is nothing to be done about it
	h.server.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "a TLS handshake failed", slog.String("remote", raw.RemoteAddr().String()), slog.Any("error", err))
}

func looksLikeHTTP(header [5]byte) bool {
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH"} {
		if strings.HasPrefix(string(header[:]), method) {
			return true
		}
	}
	return false
}

// enter reports whether the handshake may begin.
func (h *handshakes) enter(raw net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		return false
	}
	h.open[raw] = struct{}{}
	return true
}

func (h *handshakes) leave(raw net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, raw)
}

// Close ends Accept, and the handshakes that are not over: nothing was asked by them.
func (h *handshakes) Close() error {
	err := net.ErrClosed
	h.end.Do(func() {
		close(h.ended)
		err = h.Listener.Close()
		h.mu.Lock()
		open := h.open
		h.open = nil
		h.mu.Unlock()
		for raw := range open {
			raw.Close() //nolint:errcheck // it is given up
		}
	})
	return err
}
