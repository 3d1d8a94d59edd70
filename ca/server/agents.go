package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/revocation"
)

// agentState answers what the agent's service is to enforce. It does not wait: the feed tells
// when there is something else.
func (s *Server) agentState(r *request) (*answer, error) {
	state, err := s.cfg.CA.AgentState(r.ctx(), r.peer)
	if err != nil {
		return nil, err
	}
	etag, err := stateTag(state)
	if err != nil {
		return nil, err
	}
	if unchanged(r.http, etag) {
		return notModified(etag), nil
	}
	return &answer{json: state, etag: etag, cache: "no-cache"}, nil
}

// allowTime moves the deadlines of the connection or, in HTTP/2, of the stream behind the wait.
func (s *Server) allowTime(r *request, wait time.Duration) {
	if wait == 0 {
		return
	}
	control := http.NewResponseController(r.writer)
	// Deadlines are of the system's clock. A writer that knows none has none to move.
	_ = control.SetReadDeadline(time.Now().Add(wait + s.cfg.Limits.Read))
	_ = control.SetWriteDeadline(time.Now().Add(wait + s.cfg.Limits.Write))
}

// stateTag is over the content: the time of the answer is none.
func stateTag(state api.AgentState) (string, error) {
	state.ServerTime = time.Time{}
	data, err := json.Marshal(state)
	if err != nil {
		return "", err
	}
	return contentTag(data), nil
}

func contentTag(data []byte) string {
	digest := sha256.Sum256(data)
	return `"` + hex.EncodeToString(digest[:16]) + `"`
}

// preferredWait reads "wait=SECONDS" (RFC 7240, section 4.3). Other preferences are
// ignored, as the RFC wants; a wait that is no number is refused; a long one is cut.
func preferredWait(r *http.Request) (time.Duration, error) {
	for _, line := range r.Header.Values(api.HeaderPrefer) {
		for preference := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			seconds, err := strconv.ParseUint(strings.Trim(value, ` "`), 10, 31)
			if err != nil {
				return 0, badRequest("%s: wait must be a number of seconds", api.HeaderPrefer)
			}
			return min(time.Duration(seconds)*time.Second, api.MaxWait), nil
		}
	}
	return 0, nil
}

func (s *Server) bundle(r *request) (*answer, error) {
	bundle := s.cfg.CA.Bundle()
	data, err := json.Marshal(bundle)
	if err != nil {
		return nil, err
	}
	etag := contentTag(data)
	if unchanged(r.http, etag) {
		return notModified(etag), nil
	}
	return &answer{body: data, media: mediaJSON, etag: etag, cache: "no-cache"}, nil
}

// crlWrite is how long fetching a CRL may take: one with two million entries over 10 Mbit/s.
const crlWrite = 2 * time.Minute

func (s *Server) crl(r *request) (*answer, error) {
	crl, ok := s.cfg.Revocations.CRL(r.http.PathValue("issuer"))
	if !ok {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "there is no CRL of an issuer with this key id"}
	}
	if unchanged(r.http, crl.ETag) {
		return notModified(crl.ETag), nil
	}
	s.allowTime(r, crlWrite)
	return &answer{serve: crlBody(crl), etag: crl.ETag, cache: "no-cache"}, nil
}

// crlBody writes a CRL without putting its pieces together: it may have many megabytes.
func crlBody(crl revocation.CRL) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/pkix-crl")
		w.Header().Set("Content-Length", strconv.Itoa(crl.Size()))
		if r.Method != http.MethodHead {
			crl.WriteTo(w) //nolint:errcheck // the client is gone; there is nobody to tell
		}
	})
}
