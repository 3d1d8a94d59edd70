// Package localapi serves the agent's snapshot to the programs of the same host over a
// Unix socket, for certs.SocketSource. The snapshot holds the private key: the socket's mode is what
// protects it, so it is made with mode 0600, or 0660 with a group.
package localapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/handfast/handfast/agent/internal/privatesocket"
	"github.com/handfast/handfast/certs"
)

// Limits of a request.
const (
	maxWait        = 60 * time.Second
	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 8 << 10
)

// Source is where the snapshot comes from. *agent.Agent is one.
type Source interface {
	certs.Source
	// Changed returns a channel that is closed when there is another snapshot.
	Changed() <-chan struct{}
}

// Config is what a Server needs.
type Config struct {
	Source Source
	// Path of the socket. Its directory must exist.
	Path string
	// Group is the numeric id of the group that may connect; nil: the own user only.
	Group  *int
	Logger *slog.Logger
}

// Server serves GET certs.SnapshotPath: ETag, If-None-Match and "Prefer: wait=SECONDS" (RFC
// 7240), which answers when the snapshot changes.
type Server struct {
	source   Source
	logger   *slog.Logger
	listener net.Listener

	mu   sync.Mutex
	of   *certs.Snapshot // what body and etag were made of
	body []byte
	etag string
}

// Listen binds the socket. A stale one, which nobody answers on, is replaced.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	listener, err := privatesocket.Listen(ctx, cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("local socket: %w", err)
	}
	if cfg.Group != nil {
		if err := errors.Join(os.Lchown(cfg.Path, -1, *cfg.Group), os.Chmod(cfg.Path, 0o660)); err != nil {
			return nil, errors.Join(fmt.Errorf("local socket: %w", err), listener.Close())
		}
	}
	return &Server{source: cfg.Source, logger: cfg.Logger, listener: listener}, nil
}

// Close gives the socket free when Serve is never called.
func (s *Server) Close() error { return s.listener.Close() }

// Serve answers until ctx ends, and then returns nil.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx }, // ends the long polls
	}
	stop := context.AfterFunc(ctx, func() { server.Close() }) //nolint:errcheck // what waits is asked again
	defer stop()
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("local socket: %w", err)
	}
	return nil
}

// Handler is the API without its socket.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+certs.SnapshotPath, s.snapshot)
	return mux
}

func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) {
	known := r.Header.Get("If-None-Match")
	wait := time.Duration(0)
	if known != "" {
		wait = waitOf(r.Header.Get("Prefer"))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		changed := s.source.Changed()
		body, etag, err := s.encoded()
		if err != nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if etag != known {
			s.answer(w, body, etag)
			return
		}
		if wait == 0 {
			w.Header().Set("ETag", etag)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			wait = 0
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) answer(w http.ResponseWriter, body []byte, etag string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("ETag", etag)
	if _, err := w.Write(body); err != nil {
		s.logger.Debug("a local client went away", "cause", err)
	}
}

// encoded returns the present snapshot's JSON, which it keeps: many programs ask for the same.
func (s *Server) encoded() ([]byte, string, error) {
	snap, err := s.source.Current()
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == snap {
		return s.body, s.etag, nil
	}
	body, err := certs.EncodeSnapshot(snap)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(body)
	s.of, s.body, s.etag = snap, body, `"`+hex.EncodeToString(sum[:16])+`"`
	return s.body, s.etag, nil
}

// waitOf reads the wait preference (RFC 7240, section 4.3): whole seconds.
func waitOf(prefer string) time.Duration {
	for item := range strings.SplitSeq(prefer, ",") {
		value, ok := strings.CutPrefix(strings.TrimSpace(item), "wait=")
		if !ok {
			continue
		}
		seconds, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return 0
		}
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	return 0
}
