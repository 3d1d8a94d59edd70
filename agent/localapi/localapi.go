// Package localapi serves the agent's snapshot to the programs of the same host over a
// Unix socket, for certs.SocketSource. The snapshot holds the private key: the socket's mode is what
// protects it, so it is made with mode 0600, or 0660 with a group.
package localapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/handfast/handfast/agent/followers"
	"github.com/handfast/handfast/agent/internal/privatesocket"
	"github.com/handfast/handfast/certs"
)

// Limits of a request.
const (
	maxWait        = 60 * time.Second
	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 8 << 10
	maxConns       = 2 * followers.Max
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
	// Followers keeps who follows and up to where each enforces the feed, so that the agent tells the CA no more than that.
	// Nil: nobody asks.
	Followers *followers.Registry
	// Path of the socket. Its directory must exist.
	Path string
	// Group is the numeric id of the group that may connect; nil: the own user only.
	Group  *int
	Logger *slog.Logger
}

// Server serves POST certs.FollowPath, by which programs follow and say what they enforce, and GET certs.SnapshotPath for
// programs with an older library: ETag, If-None-Match and "Prefer: wait=SECONDS" (RFC 7240), which answers when
// the snapshot changes.
type Server struct {
	source    Source
	followers *followers.Registry
	logger    *slog.Logger
	listener  net.Listener

	name string // of this server in its ETags

	mu      sync.Mutex
	number  uint64 // of latest, in its ETag
	latest  *certs.Snapshot
	old     encoded    // for programs with an older library
	updates [2]encoded // from nothing, and from what the last one who asked had
}

// Listen binds the socket. A stale one, which nobody answers on, is replaced.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Followers == nil {
		cfg.Followers = followers.New(time.Now, func() {})
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
	cfg.Followers.Expect(positionOf(cfg.Source))
	return newServer(cfg, listener), nil
}

func newServer(cfg Config, listener net.Listener) *Server {
	return &Server{source: cfg.Source, followers: cfg.Followers, logger: cfg.Logger, listener: listener, name: randomID()}
}

// positionOf is where source stands, nowhere while it has nothing. Programs that followed an agent before this one are taken to
// stand where this one begins, and waited for with whatever comes after that.
func positionOf(source Source) (position certs.FollowPosition) {
	if snap, err := source.Current(); err == nil {
		position = snap.Position()
	}
	return position
}

// Close gives the socket free when Serve is never called.
func (s *Server) Close() error { return s.listener.Close() }

// Serve answers until ctx ends, and then returns nil.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx }, // ends the long polls
		ConnContext: withLine,
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				s.followers.Gone(conn)
			}
		},
	}
	stop := context.AfterFunc(ctx, func() { server.Close() }) //nolint:errcheck // what waits is asked again
	defer stop()
	var passing sync.WaitGroup
	defer passing.Wait()
	watched, end := context.WithCancel(ctx)
	defer end()
	passing.Go(func() { s.followers.Run(watched, s.logger) })
	if err := server.Serve(&bounded{Listener: s.listener, free: make(chan struct{}, maxConns)}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("local socket: %w", err)
	}
	return nil
}

// Handler is the API without its socket.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+certs.SnapshotPath, s.snapshot)
	mux.HandleFunc("POST "+certs.FollowPath, s.follow)
	return mux
}
