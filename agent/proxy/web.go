package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/certs"
)

// Limits of HTTP.
const (
	readHeaderTimeout = 10 * time.Second
	maxHeaderBytes    = 256 << 10
	pingAfter         = 15 * time.Second
	pingTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second // without a byte written to an HTTP/2 connection
	targetIdle        = 90 * time.Second
	targetIdleMax     = 128
)

// webServer forwards requests of verified peers to the local service.
//
// net/http sees plaintext connections, because the handshake is over when they reach it. So
// it decides between HTTP/1.1 and HTTP/2 by what the client sends, and a client that
// could not announce HTTP/2 by ALPN (one behind an outbound listener of mode tcp) is served too.
type webServer struct {
	in       *inboundListener
	server   *http.Server
	handoff  *handoff
	forward  *httputil.ReverseProxy
	finished chan struct{} // closed when server has ended

	targets  targets // of the lanes
	classes  map[string]prometheus.Counter
	draining atomic.Bool
	mu       sync.Mutex
	lanes    map[*lane]struct{}
}

func newWebServer(in *inboundListener) *webServer {
	w := &webServer{
		in: in, handoff: newHandoff(in.listener.Addr()), finished: make(chan struct{}),
		targets: targets{dial: in.dialTarget}, lanes: make(map[*lane]struct{}), classes: make(map[string]prometheus.Counter),
	}
	for status := 0; status <= 500; status += 100 { // looked up once
		class := classOf(status)
		w.classes[class] = in.proxy.metrics.requests.WithLabelValues(class)
	}
	http1, http2 := new(http.Transport), new(http.Transport)
	for _, transport := range []*http.Transport{http1, http2} {
		w.setUp(transport)
	}
	http1.Protocols.SetHTTP1(true)
	http2.Protocols.SetUnencryptedHTTP2(true)
	transport := http.RoundTripper(http1)
	if in.spec.Mode == ModeH2C {
		transport = byProtocol{http1, http2}
	}
	w.forward = &httputil.ReverseProxy{
		Rewrite: w.rewrite, Transport: transport, ModifyResponse: flushEarly, FlushInterval: shortPatience, BufferPool: bodyBuffers{},
		ErrorHandler: w.failed, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // failed logs
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	w.server = &http.Server{
		Handler: w, Protocols: protocols, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: in.spec.IdleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		HTTP2:          &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: writeTimeout},
		ErrorLog:       slog.NewLogLogger(in.proxy.cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if verified, ok := conn.(*peerConn); ok {
				return context.WithValue(certs.ContextWithPeer(ctx, verified.peer), connKey{}, verified)
			}
			return ctx
		},
	}
	return w
}

type connKey struct{}

func (w *webServer) setUp(transport *http.Transport) {
	transport.Protocols = new(http.Protocols)
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return w.in.dialTarget(ctx) }
	transport.DisableCompression = true
	transport.MaxIdleConns = targetIdleMax
	transport.MaxIdleConnsPerHost = targetIdleMax
	transport.IdleConnTimeout = targetIdle
	transport.MaxResponseHeaderBytes = maxHeaderBytes
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
}

const (
	// shortBody is what net/http's HTTP/2 server collects before it sends, 4 KB.
	shortBody = 4 << 10
	// shortPatience is how long a piece of a short body may wait for the rest.
	shortPatience = 5 * time.Millisecond
)

// flushEarly lets ReverseProxy pass every piece of a body on as it comes, which it does
// when the length is unknown (the header stays). An answer without a body must not be flushed: in
// HTTP/2 its headers would no longer be its end, and gRPC's errors are answers of that kind. Short ones
// mostly come in one piece, and then leave in one write with their head and their end instead of three.
func flushEarly(response *http.Response) error {
	if response.Body != http.NoBody && response.ContentLength > shortBody {
		response.ContentLength = -1
	}
	return nil
}

// bodySize is how much of a body is handed on at once.
const bodySize = 32 << 10

var bodies = sync.Pool{New: func() any { return new([bodySize]byte) }}

// bodyBuffers lends buffers to the lanes, and to ReverseProxy, which would make one for each request.
type bodyBuffers struct{}

// Get implements httputil.BufferPool.
func (bodyBuffers) Get() []byte {
	return bodies.Get().(*[bodySize]byte)[:] //nolint:forcetypeassert // the pool holds nothing else
}

// Put implements httputil.BufferPool.
func (bodyBuffers) Put(b []byte) { bodies.Put((*[bodySize]byte)(b)) }

// byProtocol speaks to the target what the client speaks: gRPC needs HTTP/2 from end to end.
type byProtocol struct{ http1, http2 http.RoundTripper }

type protoKey struct{}

func (b byProtocol) RoundTrip(r *http.Request) (*http.Response, error) {
	if major, ok := r.Context().Value(protoKey{}).(int); ok && major == 2 {
		return b.http2.RoundTrip(r)
	}
	return b.http1.RoundTrip(r)
}

// start runs the HTTP server on the connections that serve hands over.
func (w *webServer) start() {
	go func() {
		defer close(w.finished)
		if err := w.server.Serve(w.handoff); !errors.Is(err, http.ErrServerClosed) {
			w.in.proxy.cfg.Logger.Error("the HTTP server of a listener ended", "listener", w.in.spec.Listen, "cause", err)
		}
	}()
}

// drain lets the requests in flight finish and tells clients to go elsewhere, until ctx ends.
func (w *webServer) drain(ctx context.Context) {
	w.draining.Store(true)
	w.mu.Lock()
	for l := range w.lanes {
		l.drain()
	}
	w.mu.Unlock()
	defer w.targets.close()
	if err := w.server.Shutdown(ctx); err != nil {
		w.server.Close() //nolint:errcheck // its connections are cut by the door
	}
	<-w.finished
}

// serve takes one connection to its end, in a lane as far as that goes, and then in the HTTP server.
func (w *webServer) serve(ctx context.Context, secure *tls.Conn, peer certs.Peer) {
	conn := &peerConn{Conn: secure, peer: peer, closed: make(chan struct{})}
	if secure.ConnectionState().NegotiatedProtocol != "h2" {
		var handOver bool
		if conn.begun, handOver = w.inLane(ctx, secure, peer); !handOver {
			return
		}
	}
	if !w.handoff.give(ctx, conn) {
		secure.Close() //nolint:errcheck // the server is gone
		return
	}
	<-conn.closed
}

func (w *webServer) inLane(ctx context.Context, secure *tls.Conn, peer certs.Peer) (begun []byte, handOver bool) {
	l := newLane(w, secure, peer)
	w.mu.Lock()
	w.lanes[l] = struct{}{}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.lanes, l)
		w.mu.Unlock()
	}()
	return l.run(ctx)
}

// ServeHTTP forwards one request. A peer's certificate that is about to expire ends the
// connection in an orderly way before it would be cut.
func (w *webServer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	conn, ok := r.Context().Value(connKey{}).(*peerConn)
	if !ok { // cannot be: every connection comes from serve
		http.Error(rw, "no verified peer", http.StatusForbidden)
		return
	}
	if nearlyExpired(conn.peer, w.in.proxy.cfg.Now()) {
		rw.Header().Set("Connection", "close")
	}
	counted := &statusWriter{ResponseWriter: rw}
	defer func() { w.count(counted.status) }()
	w.forward.ServeHTTP(counted, r.WithContext(context.WithValue(r.Context(), protoKey{}, r.ProtoMajor)))
}

// nearlyExpired is true in the last sixth of the life: peers renew after two thirds.
func nearlyExpired(peer certs.Peer, now time.Time) bool {
	cert := peer.Certificate
	return cert.NotAfter.Sub(now) < cert.NotAfter.Sub(cert.NotBefore)/6
}

// failed answers for a local service that does not.
func (w *webServer) failed(rw http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client is gone
	}
	peer, _ := certs.PeerFromContext(r.Context())
	w.in.proxy.journal.note("request failed", w.in.spec.Listen, r.RemoteAddr, "target", peer, err)
	http.Error(rw, noAnswer, http.StatusBadGateway)
}

const noAnswer = "the service behind this agent did not answer"

// count counts a request by its answer's status, 0 if there was none.
func (w *webServer) count(status int) {
	if counter := w.classes[classOf(status)]; counter != nil {
		counter.Inc()
		return
	}
	w.in.proxy.metrics.requests.WithLabelValues(classOf(status)).Inc() // of a status that HTTP does not have
}

func classOf(status int) string {
	if status == 0 {
		return "aborted"
	}
	return strconv.Itoa(status/100) + "xx"
}

// statusWriter remembers the class of the answer. Unwrap keeps flushing and hijacking possible.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
