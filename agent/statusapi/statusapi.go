// Package statusapi serves what an agent says about itself: /metrics for Prometheus,
// /healthz for a supervisor and /status for a person. Nothing in it is secret, but it names
// callers and addresses, so it listens on loopback unless it is told otherwise.
package statusapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/handfast/handfast/agent"
	"github.com/handfast/handfast/agent/proxy"
)

// Limits of a request.
const (
	timeout        = 30 * time.Second
	maxHeaderBytes = 16 << 10
)

// Config is what a Server needs.
type Config struct {
	Agent    *agent.Agent
	Proxy    *proxy.Proxy // nil: no listeners
	Gatherer prometheus.Gatherer
	Version  string
	// Listen is HOST:PORT on loopback, or any with AllowRemote.
	Listen      string
	AllowRemote bool
	Logger      *slog.Logger
}

// Server is the bound status server.
type Server struct {
	cfg      Config
	listener net.Listener
	started  time.Time
}

// Page is the body of /status.
type Page struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	agent.Status
	Proxy *proxy.Status `json:"proxy,omitempty"`
}

// Listen binds the address.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := CheckListen(cfg.Listen, cfg.AllowRemote); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("status server: %w: stop the other program or choose another address", err)
	}
	return &Server{cfg: cfg, listener: listener, started: time.Now().UTC()}, nil
}

// CheckListen refuses an address that other hosts reach, unless that is allowed.
func CheckListen(address string, allowRemote bool) error {
	if err := proxy.CheckLocal(address, allowRemote); err != nil {
		return fmt.Errorf("status server: %w", err)
	}
	return nil
}

// Addr is what was bound.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close gives the address free when Serve is never called.
func (s *Server) Close() error { return s.listener.Close() }

// Serve answers until ctx ends, and then returns nil.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler: s.Handler(), ReadTimeout: timeout, WriteTimeout: timeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() }) //nolint:errcheck // nothing is lost
	defer stop()
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("status server: %w", err)
	}
	return nil
}

// Handler is the server without its address.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /status", s.status)
	return mux
}

// health is 200 while calls can be made and taken, and otherwise 503 with the reason.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := s.cfg.Agent.Ready(); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err) //nolint:errcheck // the client is gone
		return
	}
	fmt.Fprintln(w, "ok") //nolint:errcheck // the client is gone
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	page := Page{Version: s.cfg.Version, StartedAt: s.started, Status: s.cfg.Agent.Status()}
	if s.cfg.Proxy != nil {
		proxied := s.cfg.Proxy.Status()
		page.Proxy = &proxied
	}
	body, err := json.MarshalIndent(page, "", "  ")
	if err != nil {
		http.Error(w, "the status cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(body, '\n')) //nolint:errcheck // the client is gone
}
