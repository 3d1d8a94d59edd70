package server

import (
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// endpoint is a route's method and its whole path.
type endpoint struct{ method, path string }

// Server answers the API and the public paths. Its handlers are safe for concurrent use.
type Server struct {
	cfg       Config
	mux       *http.ServeMux
	fixed     map[endpoint]http.Handler // routes without a wildcard; the mux has them, too
	metrics   *metrics
	limiter   *limiter
	pacer     *pacer
	identity  *identity
	readiness readiness
	chorus    *chorus
	started   time.Time
	goodbye   time.Duration // the constant's, but for tests

	stop     sync.Once
	stopping chan struct{} // closed when the shutdown begins
}

// goodbye is how long a client that is dismissed has to take the last message, and then to hang up.
const goodbye = time.Second

// New makes the handlers. It issues nothing and listens nowhere: see Run.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		mux:      http.NewServeMux(),
		fixed:    make(map[endpoint]http.Handler),
		metrics:  newMetrics(cfg.Registerer),
		limiter:  newLimiter(cfg.Limits, cfg.Now),
		started:  cfg.Now().UTC(),
		goodbye:  goodbye,
		stopping: make(chan struct{}),
		chorus:   newChorus(cfg.Feed, cfg.CA),
	}
	s.pacer = newPacer(cfg.Limits, cfg.Now, s.metrics)
	s.identity = newIdentity(cfg, s.metrics)
	s.readiness = readiness{ask: cfg.CA.Ready, now: cfg.Now}
	for _, r := range s.routes() {
		if err := r.check(); err != nil {
			return nil, err
		}
		handler := s.serve(r)
		s.mux.Handle(r.method+" "+r.pattern, handler)
		if !strings.Contains(r.pattern, "{") {
			s.fixed[endpoint{r.method, r.pattern}] = handler
		}
	}
	return s, nil
}

// API returns the handler for the HTTPS listener, whose TLS configuration must be TLSConfig's.
func (s *Server) API() http.Handler {
	return s.observe("api", http.HandlerFunc(s.dispatch))
}

// dispatch is ServeMux without its kindness: no path is cleaned, nothing is redirected. Most requests are for a fixed path
// that is spelt in the usual way (no RawPath), for which the mux need not be asked, twice.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	if handler := s.fixed[endpoint{r.Method, r.URL.Path}]; handler != nil && r.URL.RawPath == "" {
		handler.ServeHTTP(w, r)
		return
	}
	if r.URL.Path != path.Clean(r.URL.Path) {
		s.refuse(w, r, errNoPath)
		return
	}
	if s.known(r, r.Method) {
		s.mux.ServeHTTP(w, r)
		return
	}
	var allowed []string
	for _, method := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
		if s.known(r, method) {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		s.refuse(w, r, errNoPath)
		return
	}
	methods := strings.Join(allowed, ", ")
	w.Header().Set("Allow", methods)
	s.refuse(w, r, &api.Error{
		Code: api.CodeBadRequest, Status: http.StatusMethodNotAllowed,
		Message: "this path does not know the method", Hint: "it knows " + methods,
	})
}

var errNoPath = &api.Error{Code: api.CodeNotFound, Message: "the API has no such path"}

// known reports whether the table has the request's path with method. The mux's own
// handlers, which redirect and refuse in plain text, are none of the table's.
func (s *Server) known(r *http.Request, method string) bool {
	asked := *r
	asked.Method = method
	handler, _ := s.mux.Handler(&asked)
	_, ok := handler.(served)
	return ok
}

// beginShutdown ends the feed's streams, which say why.
func (s *Server) beginShutdown() {
	s.stop.Do(func() {
		close(s.stopping)
		s.cfg.Fleet.Close()
		s.chorus.close()
	})
}
