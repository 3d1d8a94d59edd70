package server

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/handfast/handfast/ca/api"
)

// Callers of every kind. "operator" paths carry the role that fakeCA gives the name.
var callers = map[string]string{
	"none": "", "service": "web", "server": "handfast/ca", "unknown": "handfast/other", "stranger": "handfast/operator/who",
	"admin": "handfast/operator/adam", "issuer": "handfast/operator/iris", "reader": "handfast/operator/rene", "wizard": "handfast/operator/nemo",
}

// admitted says, apart from the code, who may get as far as each route's handler. An issuer's
// services are looked at behind it, by the CA.
var admitted = map[string]string{
	"GET /healthz":                          "everybody",
	"GET /readyz":                           "everybody",
	"POST /v1/enroll":                       "everybody",
	"POST /v1/rekey":                        "everybody",
	"GET /v1/bundle":                        "everybody",
	"POST /v1/renew":                        "service",
	"GET /v1/agent/state":                   "service",
	"GET /v1/feed":                          "service",
	"GET /v1/revocations/{issuer}/{serial}": "service",
	"GET /v1/feed/progress":                 "admin issuer reader",
	"GET /v1/agents":                        "admin issuer reader",
	"GET /v1/crl/{issuer}":                  "service admin issuer reader wizard stranger", // any certificate that verifies, of a client
	"POST /v1/tokens":                       "admin issuer",
	"POST /v1/certificates":                 "admin issuer",
	"GET /v1/certificates":                  "admin issuer reader",
	"GET /v1/certificates/{serial}":         "admin issuer reader",
	"POST /v1/revocations":                  "admin issuer",
	"GET /v1/services":                      "admin issuer reader",
	"GET /v1/services/{name...}":            "admin issuer reader",
	"PUT /v1/services/{name...}":            "admin",
	"DELETE /v1/services/{name...}":         "admin",
	"POST /v1/apply":                        "admin",
	"GET /v1/operators":                     "admin issuer reader",
	"POST /v1/operators":                    "admin",
	"DELETE /v1/operators/{name}":           "admin",
	"POST /v1/operators/renew":              "admin issuer reader",
	"GET /v1/status":                        "admin issuer reader",
	"GET /metrics":                          "admin issuer reader",
}

func TestEachRouteRefusesEachWrongCaller(t *testing.T) {
	s, st := newServer(t, nil)
	chains := map[string][]*x509.Certificate{}
	for kind, path := range callers {
		if path != "" {
			chains[kind] = []*x509.Certificate{st.pki.issue(t, path).Leaf}
		}
	}
	seen := 0
	for _, rt := range s.routes() {
		name := rt.method + " " + rt.pattern
		want, ok := admitted[name]
		if !ok {
			t.Errorf("%s is in the table, but this test does not say who may use it", name)
			continue
		}
		seen++
		for kind := range callers {
			reached := false
			rt.handle = func(*request) (*answer, error) { reached = true; return noContent(), nil }
			response := call(s, rt, chains[kind])
			may := want == "everybody" || slices.Contains(strings.Fields(want), kind)
			if reached != may {
				t.Errorf("%s by %s: handler reached %v, want %v (status %d)", name, kind, reached, may, response.Code)
			}
			if !may && response.Code != http.StatusUnauthorized && response.Code != http.StatusForbidden {
				t.Errorf("%s by %s: status %d, want 401 or 403", name, kind, response.Code)
			}
			if kind == "none" && !may && response.Code != http.StatusUnauthorized {
				t.Errorf("%s without a certificate: status %d, want 401", name, response.Code)
			}
		}
	}
	if seen != len(admitted) {
		t.Errorf("the table has %d of the %d routes that this test knows", seen, len(admitted))
	}
}

func TestRouteForNobodyRefusesEverybody(t *testing.T) {
	s, st := newServer(t, nil)
	for _, who := range []who{nobody, who(99)} {
		for kind, path := range callers {
			var chain []*x509.Certificate
			if path != "" {
				chain = []*x509.Certificate{st.pki.issue(t, path).Leaf}
			}
			rt := route{method: http.MethodGet, pattern: "/x", who: who, handle: func(*request) (*answer, error) {
				t.Errorf("%s reached a route for %d", kind, who)
				return noContent(), nil
			}}
			if got := call(s, rt, chain); got.Code < 400 {
				t.Errorf("%s: status %d", kind, got.Code)
			}
		}
	}
}

func TestRefusedCertificateNeverReachesAHandler(t *testing.T) {
	s, st := newServer(t, nil)
	leaf := st.pki.issue(t, "web").Leaf
	for _, code := range []api.Code{api.CodeRevoked, api.CodeExpired, api.CodeUnauthenticated} {
		st.refuse[leaf.SerialNumber.String()] = &api.Error{Code: code, Message: "no"}
		for _, rt := range s.routes() {
			if rt.who == anyone {
				continue
			}
			rt.handle = func(*request) (*answer, error) {
				t.Errorf("%s %s was reached with a certificate that is %s", rt.method, rt.pattern, code)
				return noContent(), nil
			}
			response := call(s, rt, []*x509.Certificate{leaf})
			if got := response.Header().Get("Connection"); got != "close" {
				t.Errorf("%s %s, %s: Connection is %q; the connection must end with its certificate", rt.method, rt.pattern, code, got)
			}
		}
	}
}

func TestLongChainIsNotLookedAt(t *testing.T) {
	s, st := newServer(t, nil)
	leaf := st.pki.issue(t, "web").Leaf
	rt := route{method: http.MethodGet, pattern: "/x", who: service, handle: func(*request) (*answer, error) { return noContent(), nil }}
	if got := call(s, rt, slices.Repeat([]*x509.Certificate{leaf}, maxChain+1)); got.Code != http.StatusUnauthorized || st.authCalls != 0 {
		t.Errorf("status %d, authenticated %d times; want 401 without a look", got.Code, st.authCalls)
	}
}

func TestNewRefusesARouteWithoutCallers(t *testing.T) {
	s, _ := newServer(t, nil)
	for _, rt := range []route{
		{method: "GET", pattern: "/x", handle: s.health},
		{method: "GET", pattern: "/x", who: operator, handle: s.health},
		{method: "GET", pattern: "/x", who: anyone, action: "read", handle: s.health},
		{method: "GET", pattern: "/x", who: anyone},
	} {
		if err := rt.check(); err == nil {
			t.Errorf("%+v was accepted", rt)
		}
	}
}

func TestPathsAreTakenLiterally(t *testing.T) {
	s, _ := newServer(t, nil)
	for _, test := range []struct {
		method, target string
		status         int
		allow          string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/v1", 404, ""},
		{"GET", "//healthz", 404, ""},
		{"GET", "/v1/../healthz", 404, ""},
		{"GET", "/healthz/", 404, ""},
		{"GET", "/V1/status", 404, ""},
		{"GET", "/v1/services/a/../b", 404, ""},
		{"GET", "/v1/enroll", 405, "POST"},
		{"PUT", "/healthz", 405, "GET, HEAD"},
		{"DELETE", "/v1/services", 405, "GET, HEAD"},
		{"PATCH", "/v1/services/web", 405, "DELETE, GET, HEAD, PUT"},
		{"CONNECT", "/healthz", 404, ""},
		{"TRACE", "/v1/enroll", 405, "POST"},
		{"HEAD", "/healthz", 200, ""},
	} {
		w := httptest.NewRecorder()
		s.API().ServeHTTP(w, httptest.NewRequest(test.method, "https://ca"+test.target, nil))
		if w.Code != test.status || w.Header().Get("Allow") != test.allow || w.Header().Get("Location") != "" {
			t.Errorf("%s %s: %d, Allow %q, Location %q; want %d, %q", test.method, test.target, w.Code, w.Header().Get("Allow"), w.Header().Get("Location"), test.status, test.allow)
		}
		if test.status != 200 && !strings.Contains(w.Body.String(), `"request_id":"`+w.Header().Get(api.HeaderRequestID)) {
			t.Errorf("%s %s: the body is not the API's error: %s", test.method, test.target, w.Body)
		}
	}
}

// call runs a route as if its pattern were the path.
func call(s *Server, rt route, chain []*x509.Certificate) *httptest.ResponseRecorder {
	var body *strings.Reader
	r := httptest.NewRequest(rt.method, "https://ca/", nil)
	if rt.method == http.MethodPost || rt.method == http.MethodPut {
		body = strings.NewReader("{}")
		r = httptest.NewRequest(rt.method, "https://ca/", body)
		r.Header.Set("Content-Type", "application/json")
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: chain}
	w := httptest.NewRecorder()
	s.observe("api", s.serve(rt)).ServeHTTP(w, r)
	return w
}
