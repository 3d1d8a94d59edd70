package revocation

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/revocation/ocsp"
)

const (
	typeCRL      = "application/pkix-crl"          // RFC 2585, section 4.2
	typeRequest  = "application/ocsp-request"      // RFC 6960, appendix A
	typeResponse = "application/ocsp-response"     // the same
	crlMaxAge    = time.Minute                     // how long caches may hide a new CRL; asking again costs a 304
	wrongMethod  = "use GET, or POST for requests" // for humans who try
)

// ServeHTTP serves the CRLs below /crl/ and OCSP at /ocsp and below it. It matches
// the path as the client sent it: pass requests to it before any mux cleans their paths, because
// base64 in an OCSP GET may hold //. Any other path is 404. Time limits for slow
// clients are the http.Server's.
func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := sentPath(r); {
	case path == ocspPath || strings.HasPrefix(path, ocspPath+"/"):
		p.serveOCSP(w, r, strings.TrimPrefix(path, ocspPath))
	case strings.HasPrefix(path, crlPrefix):
		p.serveCRL(w, r, path)
	default:
		http.NotFound(w, r)
	}
}

// sentPath returns the request's path as it was sent, without the query.
func sentPath(r *http.Request) string {
	if !strings.HasPrefix(r.RequestURI, "/") { // absolute-form, or a request that no server read
		return r.URL.EscapedPath()
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

func (p *Publisher) serveCRL(w http.ResponseWriter, r *http.Request, path string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuseMethod(w, "GET, HEAD")
		return
	}
	document := p.document(path)
	if document == nil {
		http.NotFound(w, r)
		return
	}
	now := p.config.Now()
	header := w.Header()
	header.Set("Content-Type", typeCRL)
	cacheFor(header, now, now.Add(crlMaxAge), document.nextUpdate)
	validators(header, document.etag, document.thisUpdate)
	if unchangedSince(r, document.etag, document.thisUpdate) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	write(w, r, document.der, nil)
}

func (p *Publisher) document(path string) *document {
	if s := p.routes[path]; s != nil {
		return s.newest.Load()
	}
	return (*p.static.Load())[path]
}

func (p *Publisher) serveOCSP(w http.ResponseWriter, r *http.Request, rest string) {
	var reply *reply
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		der, err := ocsp.DecodePath(rest)
		if err != nil {
			reply = failed(ocsp.Malformed)
			p.metrics.answers.WithLabelValues(failureNames[ocsp.Malformed]).Inc()
			break
		}
		reply = p.responder.answer(r.Context(), der)
	case http.MethodPost:
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != typeRequest {
			http.Error(w, "Content-Type must be "+typeRequest, http.StatusUnsupportedMediaType)
			return
		}
		der, err := readRequest(w, r)
		if err != nil {
			http.Error(w, "the body could not be read", http.StatusBadRequest)
			return
		}
		reply = p.responder.answer(r.Context(), der)
	default:
		refuseMethod(w, "GET, HEAD, POST")
		return
	}
	p.writeReply(w, r, reply)
}

// readRequest reads the body. Of one that is too long it returns one octet more than is
// allowed, which the parser refuses, so that the client gets an OCSP answer.
func readRequest(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ocsp.MaxRequest))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return make([]byte, ocsp.MaxRequest+1), nil
	}
	return body, err
}

// writeReply adds the headers of RFC 9919, section 7.2. Failures and answers that are for one
// client only must not stay in any cache.
func (p *Publisher) writeReply(w http.ResponseWriter, r *http.Request, reply *reply) {
	header := w.Header()
	header.Set("Content-Type", typeResponse)
	if !reply.shareable {
		header.Set("Cache-Control", "no-store")
		write(w, r, reply.head, reply.tail)
		return
	}
	cacheFor(header, p.config.Now(), reply.due, reply.nextUpdate)
	validators(header, reply.etag, reply.thisUpdate)
	if r.Method != http.MethodPost && unchangedSince(r, reply.etag, reply.thisUpdate) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	write(w, r, reply.head, reply.tail)
}

// cacheFor lets caches keep an answer until the earlier of due and nextUpdate.
func cacheFor(header http.Header, now, due, nextUpdate time.Time) {
	if due.After(nextUpdate) {
		due = nextUpdate
	}
	seconds := int64(max(due.Sub(now)/time.Second, 0))
	header.Set("Cache-Control", fmt.Sprintf("public, max-age=%d, no-transform, must-revalidate", seconds))
	header.Set("Expires", nextUpdate.UTC().Format(http.TimeFormat))
}

func validators(header http.Header, etag string, modified time.Time) {
	header.Set("ETag", etag)
	header.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
}

// unchangedSince evaluates If-None-Match and, without it, If-Modified-Since (RFC 9110,
// section 13.2.2).
func unchangedSince(r *http.Request, etag string, modified time.Time) bool {
	if tags := r.Header.Values("If-None-Match"); len(tags) > 0 {
		for _, tag := range strings.Split(strings.Join(tags, ","), ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	return err == nil && !modified.Truncate(time.Second).After(since)
}

// write sends the two parts of a body. A client that went away is nobody's error.
func write(w http.ResponseWriter, r *http.Request, head, tail []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(head)+len(tail)))
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(head); err == nil && len(tail) > 0 {
		_, _ = w.Write(tail)
	}
}

func refuseMethod(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	http.Error(w, wrongMethod, http.StatusMethodNotAllowed)
}
