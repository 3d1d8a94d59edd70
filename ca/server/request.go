package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

// maxChain is how many certificates a client may present; more are not looked at.
const maxChain = 8

// request is one request that its route admits.
type request struct {
	http     *http.Request
	writer   http.ResponseWriter // for limits of time and size only
	query    url.Values
	body     []byte          // of a POST or a PUT
	peer     ca.Peer         // for enrolled, service and operator
	operator policy.Operator // for operator
}

func (r *request) ctx() context.Context { return r.http.Context() }

// served is a route's handler in the mux.
type served struct{ http.Handler }

// serve makes a route's handler: admit, decode, handle, answer.
func (s *Server) serve(rt route) served {
	name := rt.method + " " + rt.pattern
	return served{http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		note := noteOf(hr.Context())
		note.route = name
		answer, err := s.run(rt, &request{http: hr, writer: w}, note)
		if err != nil {
			s.refuse(w, hr, err)
			return
		}
		note.told = answer.told
		s.write(w, hr, answer)
	})}
}

func (s *Server) run(rt route, r *request, note *note) (*answer, error) {
	if err := r.parseQuery(rt.query); err != nil {
		return nil, err
	}
	if err := s.admit(r, rt.who, rt.action, note); err != nil {
		return nil, err
	}
	if rt.limited {
		if err := s.limiter.forgiven(r.http.RemoteAddr); err != nil {
			return nil, err
		}
	}
	if err := r.readBody(rt); err != nil {
		return nil, err
	}
	if !rt.limited {
		return rt.handle(r)
	}
	// The body is here already: who sends it slowly holds no slot meanwhile.
	return s.limiter.do(r, rt.handle)
}

// admit fails closed: a caller that is none of the cases is refused.
func (s *Server) admit(r *request, who who, action policy.Action, note *note) error {
	if who == anyone {
		return nil
	}
	if r.http.TLS == nil {
		return errNoCertificate
	}
	peer, err := s.authenticate(r.ctx(), r.http.TLS.PeerCertificates)
	if err != nil {
		return err
	}
	note.caller = peer.ID
	r.peer = peer
	switch {
	case who == enrolled && (peer.Kind == ca.KindService || peer.Kind == ca.KindOperator):
		return nil
	case who == service && peer.Kind == ca.KindService:
		return nil
	case who == operator && peer.Kind == ca.KindOperator:
		return s.admitOperator(r, action)
	default:
		return wrongKind(peer)
	}
}

var errNoCertificate = &api.Error{
	Code: api.CodeUnauthenticated, Message: "the request came without a client certificate",
	Hint: "services enrol with a token first; operators use the certificate in operator.yaml",
}

// authenticate says who shows chain, which may be empty.
func (s *Server) authenticate(ctx context.Context, chain []*x509.Certificate) (ca.Peer, error) {
	if len(chain) == 0 {
		return ca.Peer{}, errNoCertificate
	}
	if len(chain) > maxChain {
		return ca.Peer{}, &api.Error{Code: api.CodeUnauthenticated, Message: fmt.Sprintf("more than %d client certificates", maxChain)}
	}
	peer, err := s.cfg.CA.Authenticate(ctx, chain)
	if err != nil {
		return ca.Peer{}, operatorsWayOut(err, chain[0])
	}
	return peer, nil
}

func wrongKind(peer ca.Peer) error {
	return &api.Error{Code: api.CodeForbidden, Message: fmt.Sprintf("%s may not do this: it is not for a certificate of kind %s", peer.ID, peer.Kind)}
}

// operatorsWayOut replaces the CA's hint, which is for services, where the certificate that
// is refused says that it is an operator's: tokens and rekeying are not for them. The
// certificate is not trusted in this; only the words depend on it.
func operatorsWayOut(err error, leaf *x509.Certificate) error {
	var refused *api.Error
	if !errors.As(err, &refused) || (refused.Code != api.CodeRevoked && refused.Code != api.CodeExpired) {
		return err
	}
	id, idErr := certs.IDFromCertificate(leaf)
	name, isOperator := strings.CutPrefix(id.Path(), policy.OperatorPathPrefix)
	if idErr != nil || !isOperator {
		return err
	}
	told := *refused
	told.Hint = fmt.Sprintf("an admin makes you a new credential: handfast operator remove %[1]s, then handfast operator add %[1]s; "+
		"without any admin: handfast-ca operator on the CA's host", name)
	return &told
}

func (s *Server) admitOperator(r *request, action policy.Action) error {
	found, err := s.cfg.CA.Operator(r.ctx(), r.peer)
	if err != nil {
		return err
	}
	r.operator = found
	// What may be allowed for one service only is for the CA to decide, which knows it.
	perService := action == policy.ActionToken || action == policy.ActionIssue || action == policy.ActionRevoke
	if perService && found.Role == policy.RoleIssuer {
		return nil
	}
	if err := policy.Allow(found, action, ""); err != nil {
		return &api.Error{Code: api.CodeForbidden, Message: err.Error(), Hint: "an admin can do it, or give you the role"}
	}
	return nil
}

// parseQuery refuses what the route does not know, so that a mistyped filter never
// silently selects everything.
func (r *request) parseQuery(known []string) error {
	if r.http.URL.RawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(r.http.URL.RawQuery)
	if err != nil {
		return badRequest("the query string is malformed")
	}
	for name, list := range values {
		if !slices.Contains(known, name) {
			return badRequest("unknown query parameter %.40q", name)
		}
		if len(list) != 1 {
			return badRequest("query parameter %q stands there %d times", name, len(list))
		}
	}
	r.query = values
	return nil
}

// readBody reads all of it within the route's limit.
func (r *request) readBody(rt route) error {
	if rt.method != http.MethodPost && rt.method != http.MethodPut {
		if r.http.ContentLength != 0 {
			return badRequest("a %s request has no body", rt.method)
		}
		return nil
	}
	if err := checkMedia(r.http.Header); err != nil {
		return err
	}
	limit := rt.maxBody
	if limit == 0 {
		limit = api.MaxBody
	}
	var err error
	r.body, err = readAll(r.writer, r.http, limit)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &api.Error{Code: api.CodeTooLarge, Message: fmt.Sprintf("the body is longer than %d bytes", limit)}
	case err != nil:
		return badRequest("the body did not arrive whole and in time")
	default:
		return nil
	}
}

// checkMedia demands JSON in UTF-8, uncompressed.
func checkMedia(header http.Header) error {
	if header.Get("Content-Encoding") == "" && header.Get("Content-Type") == mediaJSON {
		return nil
	}
	media, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || media != mediaJSON || header.Get("Content-Encoding") != "" {
		return badRequest("the body must be JSON: send Content-Type: application/json and no Content-Encoding")
	}
	if charset, ok := params["charset"]; len(params) > 1 || (len(params) == 1 && (!ok || !strings.EqualFold(charset, "utf-8"))) {
		return badRequest("Content-Type application/json has no parameter but charset=utf-8")
	}
	return nil
}

// firstRead bounds what a client's word for a body's length makes the CA take at once.
const firstRead = 8 << 10

// readAll reads a body of at most limit octets; more is an *http.MaxBytesError. One whose length is known and small, as
// nearly all are, is read into what it needs.
func readAll(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if length := r.ContentLength; length > 0 && length <= min(limit, firstRead) {
		body := make([]byte, length)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
}

// decode reads the body strictly into v.
func (r *request) decode(v any) error {
	if err := api.DecodeStrict(r.body, v); err != nil {
		return badRequest("the body: %v", err)
	}
	return nil
}

// idempotencyKey checks the header; "" is none.
func (r *request) idempotencyKey() (string, error) {
	values := r.http.Header.Values(api.HeaderIdempotencyKey)
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(values) > 1 || key == "" || len(key) > 64 {
		return "", badRequest("%s must be 1 to 64 visible ASCII characters, once", api.HeaderIdempotencyKey)
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return "", badRequest("%s must be 1 to 64 visible ASCII characters, once", api.HeaderIdempotencyKey)
		}
	}
	return key, nil
}

func badRequest(format string, args ...any) error {
	return &api.Error{Code: api.CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}
