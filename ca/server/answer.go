package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/ca/api"
)

const (
	mediaJSON  = "application/json"
	mediaPlain = "text/plain; charset=utf-8"
)

// answer is a response that went well.
type answer struct {
	status int    // 0 is 200
	json   any    // the body as JSON, or
	body   []byte // the body as it is, with
	media  string // its type, or
	serve  http.Handler
	etag   string // with its quotes; "" is none
	cache  string // Cache-Control; "" is no-store
	told   bool   // see note
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, a *answer) {
	header := w.Header()
	if a.etag != "" {
		header.Set("ETag", a.etag)
	}
	header.Set("Cache-Control", "no-store")
	if a.cache != "" {
		header.Set("Cache-Control", a.cache)
	}
	if a.serve != nil {
		a.serve.ServeHTTP(w, r)
		return
	}
	body, media := a.body, a.media
	if a.json != nil {
		var err error
		if body, err = json.Marshal(a.json); err != nil {
			s.refuse(w, r, err)
			return
		}
		media = mediaJSON
	}
	if media != "" {
		header.Set("Content-Type", media)
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body) //nolint:errcheck // the client is gone; there is nobody to tell
	}
}

// refuse answers an error: an *api.Error as it is, everything else without its cause,
// which only the log gets.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	note := noteOf(r.Context())
	e := public(err)
	e.RequestID = note.id
	note.code, note.cause = e.Code, err
	header := w.Header()
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		header.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if e.Code == api.CodeUnauthenticated || e.Code == api.CodeExpired || e.Code == api.CodeRevoked {
		// The connection was made with a certificate that is no good any more: the
		// next request needs another handshake. In HTTP/2 this becomes GOAWAY.
		header.Set("Connection", "close")
	}
	s.write(w, r, &answer{status: e.Status, json: api.ErrorBody{Error: e}})
}

// public is what the caller may know of err. The result is a copy.
func public(err error) *api.Error {
	var known *api.Error
	var e api.Error
	switch {
	case errors.As(err, &known):
		e = *known
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e = api.Error{Code: api.CodeUnavailable, Message: "the request ended before its answer was ready", Hint: "repeat it"}
	default:
		e = api.Error{Code: api.CodeInternal, Message: "the CA failed", Hint: "its log has the cause under the request's id"}
	}
	if e.Status == 0 {
		e.Status = e.Code.HTTPStatus()
	}
	return &e
}

// unchanged reports whether If-None-Match names etag (RFC 9110, section 13.1.2).
func unchanged(r *http.Request, etag string) bool {
	for _, line := range r.Header.Values("If-None-Match") {
		for candidate := range strings.SplitSeq(line, ",") {
			candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
			if candidate == "*" || (candidate == etag && etag != "") {
				return true
			}
		}
	}
	return false
}

func notModified(etag string) *answer {
	return &answer{status: http.StatusNotModified, etag: etag, cache: "no-cache"}
}
