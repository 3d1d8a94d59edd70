package server

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/revocation"
)

const (
	publicRoute  = "public"
	maxPublic    = 64 << 10 // the body of a request; the publisher has its own, smaller limit
	publicMaxAge = "public, max-age=3600"
	readyFor     = time.Second
)

// Public returns the handler for the plain HTTP listener. There is nothing secret behind
// it and nothing that changes the CA; what it serves is signed, or (the roots) to be
// compared with a fingerprint from elsewhere. CRLs and OCSP responses are what it is for;
// the documents around them are rare, and go through net/http's interface.
func (s *Server) Public() fasthttp.RequestHandler {
	documents := fasthttpadaptor.NewFastHTTPHandler(s.observe(publicRoute, http.HandlerFunc(s.serveDocument)))
	return func(ctx *fasthttp.RequestCtx) {
		if isPublished(ctx) {
			s.observePublished(ctx)
			return
		}
		documents(ctx)
	}
}

// isPublished reports whether the publisher is to answer: it knows what to say to a target
// that is none.
func isPublished(ctx *fasthttp.RequestCtx) bool {
	path, ok := revocation.SentPath(ctx)
	switch {
	case !ok:
		return true
	case revocation.IsOCSPPath(path):
		return ctx.IsGet() || ctx.IsPost() || ctx.IsHead()
	case revocation.IsCRLPath(path):
		return ctx.IsGet() || ctx.IsHead()
	}
	return false
}

func (s *Server) serveDocument(w http.ResponseWriter, r *http.Request) {
	noteOf(r.Context()).route = publicRoute
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.refuse(w, r, &api.Error{Code: api.CodeBadRequest, Status: http.StatusMethodNotAllowed, Message: "this path is for GET"})
		return
	}
	request := &request{http: r, writer: w}
	var a *answer
	var err error
	switch r.URL.Path {
	case api.PathHealth:
		a, err = s.health(request)
	case api.PathReady:
		a, err = s.ready(request)
	default:
		a, err = s.document(request)
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.write(w, r, a)
}

// document answers the issuers, where their certificates' AIA extensions say (RFC 5280,
// section 4.2.2.1: one DER certificate), the roots likewise, and all roots as PEM.
func (s *Server) document(r *request) (*answer, error) {
	path := r.http.URL.Path
	if path == "/roots.pem" {
		var pems bytes.Buffer
		for _, root := range s.cfg.CA.Bundle().Roots {
			pem.Encode(&pems, &pem.Block{Type: "CERTIFICATE", Bytes: root}) //nolint:errcheck // a buffer takes everything
		}
		return publicAnswer(r, pems.Bytes(), "application/pem-certificate-chain"), nil
	}
	rest, isIssuer := strings.CutPrefix(path, "/ca/")
	keyID, named := strings.CutSuffix(rest, ".crt")
	if isIssuer && named {
		if der, ok := s.authority(keyID); ok {
			return publicAnswer(r, der, "application/pkix-cert"), nil
		}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Message: "there is nothing here", Hint: "the API is on the HTTPS address"}
}

// authority finds an issuer or a root by its subject key identifier.
func (s *Server) authority(keyID string) ([]byte, bool) {
	if issuer, ok := s.cfg.CA.IssuerCertificate(keyID); ok {
		return issuer.Raw, true
	}
	for _, der := range s.cfg.CA.Bundle().Roots {
		root, err := x509.ParseCertificate(der)
		if err == nil && keyID == hex.EncodeToString(root.SubjectKeyId) {
			return der, true
		}
	}
	return nil, false
}

func publicAnswer(r *request, body []byte, media string) *answer {
	etag := contentTag(body)
	if unchanged(r.http, etag) {
		return notModified(etag)
	}
	return &answer{body: body, media: media, etag: etag, cache: publicMaxAge}
}

// Metrics returns the handler for a metrics listener of its own, for scrapers without an
// operator's certificate. It must not be reachable by everybody.
func (s *Server) Metrics() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+api.PathMetrics, s.exposition())
	return mux
}

func (s *Server) metricsPage(*request) (*answer, error) {
	return &answer{serve: s.exposition()}, nil
}

func (s *Server) exposition() http.Handler {
	return promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4, DisableCompression: true})
}

func (s *Server) health(*request) (*answer, error) {
	return &answer{body: []byte("ok\n"), media: mediaPlain}, nil
}

func (s *Server) ready(r *request) (*answer, error) {
	problems := s.readiness.problems(r.ctx())
	select {
	case <-s.stopping:
		problems = append([]string{"the server is shutting down"}, problems...)
	default:
	}
	if len(problems) > 0 {
		return nil, &api.Error{Code: api.CodeUnavailable, Message: "not ready: " + strings.Join(problems, "; ")}
	}
	return &answer{body: []byte("ready\n"), media: mediaPlain}, nil
}

// readiness asks the CA at most once a second, because anybody may ask it.
type readiness struct {
	ask func(context.Context) []string
	now func() time.Time

	mu    sync.Mutex // guards what follows, and makes askers share one answer
	at    time.Time
	known []string
}

func (r *readiness) problems(ctx context.Context) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if age := now.Sub(r.at); r.at.IsZero() || age < 0 || age >= readyFor {
		// The askers who wait share this answer, so that one's hanging up must not spoil it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		r.known, r.at = r.ask(ctx), now
	}
	return append([]string(nil), r.known...)
}
