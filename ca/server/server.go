package server

import (
	"fmt"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// Server answers the API and the public paths. Its handlers are safe for concurrent use.
type Server struct {
	cfg       Config
	mux       *http.ServeMux
	metrics   *metrics
	limiter   *limiter
	identity  *identity
	readiness readiness
	started   time.Time

	stop     sync.Once
	stopping chan struct{} // closed when the shutdown begins: long polls end
}

// New makes the handlers. It issues nothing and listens nowhere: see Run.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		mux:      http.NewServeMux(),
		metrics:  newMetrics(cfg.Registerer),
		limiter:  newLimiter(cfg.Limits, cfg.Now),
		started:  cfg.Now().UTC(),
		stopping: make(chan struct{}),
	}
	s.identity = newIdentity(cfg, s.metrics)
	s.readiness = readiness{ask: cfg.CA.Ready, now: cfg.Now}
	for _, r := range s.routes() {
		if r.who == nobody || r.handle == nil || (r.who == operator) != (r.action != "") {
			return nil, fmt.Errorf("server: route %s %s does not say who may use it", r.method, r.pattern)
		}
		s.mux.Handle(r.method+" "+r.pattern, s.serve(r))
	}
	return s, nil
}

// API returns the handler for the HTTPS listener, whose TLS configuration must be TLSConfig's.
func (s *Server) API() http.Handler {
	return s.observe("api", http.HandlerFunc(s.dispatch))
}

// dispatch is ServeMux without its kindness: no path is cleaned, nothing is redirected.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	_, pattern := s.mux.Handler(r)
	switch {
	case pattern != "" && r.URL.Path == path.Clean(r.URL.Path):
		s.mux.ServeHTTP(w, r)
	case s.allowed(r) != "":
		w.Header().Set("Allow", s.allowed(r))
		s.refuse(w, r, &api.Error{
			Code: api.CodeBadRequest, Status: http.StatusMethodNotAllowed,
			Message: "this path does not know the method", Hint: "it knows " + s.allowed(r),
		})
	default:
		s.refuse(w, r, &api.Error{Code: api.CodeNotFound, Message: "the API has no such path"})
	}
}

// allowed is the methods that the mux knows for the path, as in the header Allow.
func (s *Server) allowed(r *http.Request) string {
	handler, pattern := s.mux.Handler(r)
	if pattern != "" {
		return ""
	}
	probe := headerProbe{}
	handler.ServeHTTP(probe, r)
	return http.Header(probe).Get("Allow")
}

// headerProbe takes the headers of an answer and drops the rest.
type headerProbe http.Header

func (p headerProbe) Header() http.Header         { return http.Header(p) }
func (p headerProbe) WriteHeader(int)             {}
func (p headerProbe) Write(b []byte) (int, error) { return len(b), nil }

// beginShutdown lets waiting agents go; their answers say that nothing has changed.
func (s *Server) beginShutdown() { s.stop.Do(func() { close(s.stopping) }) }
