package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Addresses are where the server listens, as HOST:PORT. API and Public are required;
// Metrics is "" for none.
type Addresses struct {
	API     string
	Public  string
	Metrics string
}

// Listeners are open sockets, one for each address.
type Listeners struct {
	API     net.Listener
	Public  net.Listener
	Metrics net.Listener // nil for none
}

// Listen opens all addresses or none. Its error says which one it was and what to change.
func Listen(ctx context.Context, addresses Addresses) (*Listeners, error) {
	var l Listeners
	doors := []struct {
		name, setting, address string
		listener               *net.Listener
	}{
		{"API", "address", addresses.API, &l.API},
		{"public", "public_address", addresses.Public, &l.Public},
		{"metrics", "metrics_address", addresses.Metrics, &l.Metrics},
	}
	for _, door := range doors {
		if door.address == "" && door.listener == &l.Metrics {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", door.address)
		if err != nil {
			return nil, errors.Join(listenError(door.name, door.setting, door.address, err), l.Close())
		}
		*door.listener = listener
	}
	return &l, nil
}

func listenError(name, setting, address string, err error) error {
	hint := "give another " + setting
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another program listens there: stop it, or give another " + setting
	case errors.Is(err, syscall.EACCES):
		hint = "ports below 1024 need a privilege: give another " + setting
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "this host does not have that address: give another " + setting
	}
	return fmt.Errorf("listen on the %s address %q: %w; %s in config.yaml", name, address, err, hint)
}

// Close closes the listeners that are open.
func (l *Listeners) Close() error {
	var errs []error
	for _, listener := range []net.Listener{l.API, l.Public, l.Metrics} {
		if listener != nil {
			if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Run issues the API's own certificate, serves until ctx ends, and then finishes the
// requests that were accepted, within Limits.Shutdown; waiting agents are answered at
// once. It closes the listeners. The error says what failed; nil is an orderly end.
func (s *Server) Run(ctx context.Context, l *Listeners) error {
	if err := s.identity.rotate(ctx); err != nil {
		return errors.Join(err, l.Close())
	}
	rotating, stop := context.WithCancel(ctx)
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { s.identity.run(rotating) })
	background.Go(s.chorus.run) // until beginShutdown
	defer s.chorus.sockets.Close()
	defer background.Wait()
	defer stop()

	servers := s.servers(l)
	failed := make(chan error, len(servers))
	for _, d := range servers {
		go func() { failed <- d.serve() }()
	}
	var first error
	running := len(servers)
	select {
	case <-ctx.Done():
	case first = <-failed:
		running--
	}
	s.beginShutdown()
	errs := []error{first, s.shutdown(servers)}
	for range running {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// door is a listener with its server.
type door struct {
	name     string
	listener net.Listener
	run      func() error                    // until shutdown; http.ErrServerClosed is an orderly end
	shutdown func(ctx context.Context) error // finishes requests until ctx ends, then cuts them
}

func (d door) serve() error {
	if err := d.run(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the %s address %s: %w", d.name, d.listener.Addr(), err)
	}
	return nil
}

func (s *Server) servers(l *Listeners) []door {
	https := s.httpServer(s.API())
	https.TLSConfig = s.TLSConfig() // net/http looks there for HTTP/2; the handshakes are over when it gets a connection
	https.Protocols = new(http.Protocols)
	https.Protocols.SetHTTP1(true)
	https.Protocols.SetHTTP2(true)
	handshakes := s.newHandshakes(l.API)
	public := s.newPublicServer(newPublicListener(l.Public, s.goodbye))
	doors := []door{
		{name: "API", listener: l.API, run: func() error { return https.Serve(handshakes) }, shutdown: s.shutdownAPI(https)},
		{name: "public", listener: l.Public, run: public.serve, shutdown: public.shutdown},
	}
	if l.Metrics != nil {
		metrics := s.httpServer(s.Metrics())
		doors = append(doors, door{
			name: "metrics", listener: l.Metrics,
			run: func() error { return metrics.Serve(l.Metrics) }, shutdown: shutdownHTTP(metrics),
		})
	}
	return doors
}

func shutdownHTTP(server *http.Server) func(context.Context) error {
	return func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if err != nil {
			server.Close() //nolint:errcheck // the listener is closed already; what is left is cut
		}
		return err
	}
}

// shutdownAPI waits for the feed's streams as well, which beginShutdown ends.
func (s *Server) shutdownAPI(server *http.Server) func(context.Context) error {
	return func(ctx context.Context) error {
		return errors.Join(shutdownHTTP(server)(ctx), s.chorus.wait(ctx))
	}
}

// maxHeader is generous for a cookie-less API: an idempotency key, an ETag, an OCSP
// request in a path (255 bytes by RFC 9919, more by nonces).
const maxHeader = 16 << 10

func (s *Server) httpServer(handler http.Handler) *http.Server {
	limits := s.cfg.Limits
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: limits.ReadHeader,
		ReadTimeout:       limits.Read,
		WriteTimeout:      limits.Write,
		IdleTimeout:       limits.Idle,
		MaxHeaderBytes:    maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 64,
			// Agents that vanished must not hold a waiting request for a minute.
			SendPingTimeout:  15 * time.Second,
			PingTimeout:      10 * time.Second,
			WriteByteTimeout: limits.Write,
		},
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
}

// shutdown lets every door finish within the same deadline, then closes what is left.
func (s *Server) shutdown(doors []door) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Limits.Shutdown)
	defer cancel()
	errs := make([]error, len(doors))
	var wait sync.WaitGroup
	for i, d := range doors {
		wait.Go(func() {
			if err := d.shutdown(ctx); err != nil {
				errs[i] = fmt.Errorf("shut down the %s listener: requests were still running after %v and were cut: %w", d.name, s.cfg.Limits.Shutdown, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
