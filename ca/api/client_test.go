package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// serve starts a CA that answers with handler, and a client of it.
func serve(t *testing.T, handler http.HandlerFunc, options ...api.Option) *api.Client {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	c, err := api.NewClient(server.URL, trust(server), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func trust(server *httptest.Server) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
}

func TestNewClientRefuses(t *testing.T) {
	good := &tls.Config{MinVersion: tls.VersionTLS13}
	for _, base := range []string{"", "http://ca:1", "https://", "https://:8443", "https://u:p@ca:1", "https://ca:1/x", "https://ca:1?x", "https://ca:1?", "https://ca:1#x", "ftp://ca", "https://ca:port", "a b"} {
		if _, err := api.NewClient(base, good); err == nil {
			t.Errorf("%q was accepted", base)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Errorf("the error tells a password: %v", err)
		}
	}
	for base, want := range map[string]string{"ca:8443": "https://ca:8443", "https://ca:8443/": "https://ca:8443", "https://[::1]:8443": "https://[::1]:8443"} {
		if c, err := api.NewClient(base, good); err != nil || c.BaseURL() != want {
			t.Errorf("%q: %v", base, err)
		}
	}
	if _, err := api.NewClient("ca:1", nil); err == nil {
		t.Error("a client without trust was made")
	}
	if _, err := api.NewClient("ca:1", &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}); err == nil {
		t.Error("a client that verifies nothing was made")
	}
	if _, err := api.NewClient("ca:1", good, api.WithTimeout(-1)); err == nil {
		t.Error("a negative timeout was accepted")
	}
}

func TestEachMethodSendsItsRequest(t *testing.T) {
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.RequestURI
		for _, name := range []string{api.HeaderIdempotencyKey, "If-Match", "If-None-Match", api.HeaderPrefer} {
			if value := r.Header.Get(name); value != "" {
				got += " " + name + ":" + value
			}
		}
		if r.ProtoMajor != 2 {
			t.Errorf("%s over %s; want HTTP/2", got, r.Proto)
		}
		switch {
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
			return
		case strings.HasPrefix(r.URL.Path, api.PathCRL):
			w.Header().Set("Content-Type", "application/pkix-crl")
		case r.URL.Path == api.PathHealth, r.URL.Path == api.PathReady, r.URL.Path == api.PathMetrics:
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		default:
			w.Header().Set("Content-Type", "application/json")
		}
		w.Write([]byte(`{"unknown_to_this_client":1}`)) //nolint:errcheck // the test would fail elsewhere
	})
	ctx := t.Context()
	serial, err := certs.ParseSerial("0a0b")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want string
		call func() error
	}{
		{"POST /v1/enroll Idempotency-Key:k", func() error { _, err := c.Enroll(ctx, &api.EnrollRequest{}, "k"); return err }},
		{"POST /v1/rekey", func() error { _, err := c.Rekey(ctx, &api.RekeyRequest{}, ""); return err }},
		{"POST /v1/renew Idempotency-Key:k", func() error { _, err := c.Renew(ctx, &api.RenewRequest{}, "k"); return err }},
		{`GET /v1/bundle If-None-Match:"e"`, func() error { _, _, err := c.Bundle(ctx, `"e"`); return err }},
		{`GET /v1/agent/state If-None-Match:"e"`, func() error { _, _, err := c.AgentState(ctx, `"e"`); return err }},
		{"GET /v1/feed/progress?sequence=7 Prefer:wait=60", func() error { _, err := c.Progress(ctx, 7, time.Hour); return err }},
		{"GET /v1/feed/progress?sequence=7", func() error { _, err := c.Progress(ctx, 7, -time.Hour); return err }},
		{"GET /v1/agents?cursor=a+b&limit=2&q=x&service=web&state=silent", func() error {
			_, err := c.Agents(ctx, api.AgentQuery{Service: "web", State: "silent", Search: "x", Limit: 2, Cursor: "a b"})
			return err
		}},
		{"GET /v1/revocations/aabb/0a", func() error { _, err := c.RevocationOf(ctx, "aabb", "0a"); return err }},
		{"GET /v1/crl/ab%3F%25c", func() error { _, _, err := c.CRL(ctx, "ab?%c", ""); return err }},
		{"GET /healthz", func() error { return c.Health(ctx) }},
		{"GET /readyz", func() error { return c.Ready(ctx) }},
		{"POST /v1/tokens", func() error { _, err := c.CreateToken(ctx, &api.TokenRequest{}); return err }},
		{"POST /v1/certificates Idempotency-Key:k", func() error { _, err := c.Issue(ctx, &api.IssueRequest{}, "k"); return err }},
		{"GET /v1/certificates", func() error { _, err := c.Certificates(ctx, api.CertificateQuery{}); return err }},
		{"GET /v1/certificates?cursor=c&expiring=2h0m0s&kind=service&limit=5&q=a%26b&service=web&status=valid", func() error {
			_, err := c.Certificates(ctx, api.CertificateQuery{Service: "web", Kind: "service", Status: "valid", Expiring: 2 * time.Hour, Search: "a&b", Limit: 5, Cursor: "c"})
			return err
		}},
		{"GET /v1/certificates/0a0b", func() error { _, err := c.Certificate(ctx, serial); return err }},
		{"POST /v1/revocations", func() error { _, err := c.Revoke(ctx, &api.RevokeRequest{}); return err }},
		{"GET /v1/services?q=w", func() error { _, err := c.Services(ctx, api.ServiceQuery{Search: "w"}); return err }},
		{"GET /v1/services/shop/web", func() error { _, err := c.Service(ctx, "shop/web"); return err }},
		{"PUT /v1/services/web If-None-Match:*", func() error { _, err := c.PutService(ctx, &api.Service{Name: "web"}, 0); return err }},
		{`PUT /v1/services/web If-Match:"7"`, func() error { _, err := c.PutService(ctx, &api.Service{Name: "web"}, 7); return err }},
		{"PUT /v1/services/web", func() error { _, err := c.PutService(ctx, &api.Service{Name: "web"}, api.AnyVersion); return err }},
		{"DELETE /v1/services/web", func() error { return c.DeleteService(ctx, "web", 0) }},
		{`DELETE /v1/services/web If-Match:"7"`, func() error { return c.DeleteService(ctx, "web", 7) }},
		{"POST /v1/apply", func() error { _, err := c.Apply(ctx, &api.ApplyRequest{}); return err }},
		{"GET /v1/operators", func() error { _, err := c.Operators(ctx); return err }},
		{"POST /v1/operators", func() error { _, err := c.AddOperator(ctx, &api.OperatorRequest{}); return err }},
		{"DELETE /v1/operators/eve", func() error { return c.DeleteOperator(ctx, "eve") }},
		{"POST /v1/operators/renew", func() error { _, err := c.RenewOperator(ctx, &api.RenewRequest{}, ""); return err }},
		{"GET /v1/status", func() error { _, err := c.Status(ctx); return err }},
		{"GET /metrics", func() error { _, err := c.Metrics(ctx); return err }},
	} {
		if err := test.call(); err != nil || got != test.want {
			t.Errorf("%s: %v; want %s", got, err, test.want)
		}
	}
}

func TestErrorsAreTheAPIsOwn(t *testing.T) {
	var answer func(w http.ResponseWriter)
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	for _, test := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   api.Error
	}{
		{"coded", 401, map[string]string{"Content-Type": "application/json"}, `{"error":{"code":"token_used","message":"m","hint":"h","request_id":"r1","later":1}}`,
			api.Error{Code: api.CodeTokenUsed, Message: "m", Hint: "h", RequestID: "r1", Status: 401}},
		{"wait", 429, map[string]string{"Content-Type": "application/json", "Retry-After": "7"}, `{"error":{"code":"rate_limited","message":"m"}}`,
			api.Error{Code: api.CodeRateLimited, Message: "m", Status: 429, RetryAfter: 7 * time.Second}},
		{"wait too long", 503, map[string]string{"Content-Type": "application/json", "Retry-After": "4294967295"}, `{"error":{"code":"unavailable","message":"m"}}`,
			api.Error{Code: api.CodeUnavailable, Message: "m", Status: 503, RetryAfter: time.Hour}},
		{"id in the header", 500, map[string]string{"Content-Type": "application/json; charset=utf-8", api.HeaderRequestID: "r2", "Retry-After": "-1"}, `{"error":{"code":"internal","message":"m"}}`,
			api.Error{Code: api.CodeInternal, Message: "m", Status: 500, RequestID: "r2"}},
		{"terminal's escape codes", 400, map[string]string{"Content-Type": "application/json"}, `{"error":{"code":"bad_request","message":"a\u001b[2Jb\nc"}}`,
			api.Error{Code: api.CodeBadRequest, Message: "a [2Jb c", Status: 400}},
		{"a proxy's page", 502, map[string]string{"Content-Type": "text/html"}, `<html>`, api.Error{Code: api.CodeUnavailable, Status: 502}},
		{"another program", 404, nil, `not found`, api.Error{Code: api.CodeNotFound, Status: 404}},
		{"JSON of another program", 403, map[string]string{"Content-Type": "application/json"}, `{"error":null}`, api.Error{Code: api.CodeForbidden, Status: 403}},
		{"redirect", 307, map[string]string{"Location": "/elsewhere"}, ``, api.Error{Code: api.CodeBadRequest, Status: 307}},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer = func(w http.ResponseWriter) {
				for name, value := range test.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}
			_, err := c.Enroll(t.Context(), &api.EnrollRequest{Token: "canary"}, "")
			var got *api.Error
			if !errors.As(err, &got) {
				t.Fatalf("%v is no *api.Error", err)
			}
			if test.want.Message == "" {
				got.Message, got.Hint = "", ""
			}
			if *got != test.want {
				t.Errorf("%+v; want %+v", *got, test.want)
			}
			if !strings.Contains(err.Error(), "/v1/enroll") || strings.Contains(err.Error(), "canary") {
				t.Errorf("error text: %v", err)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	reached := false
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer elsewhere.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	if _, err := c.Enroll(t.Context(), &api.EnrollRequest{Token: "secret"}, ""); err == nil || reached {
		t.Errorf("%v, reached %v", err, reached)
	}
}

func TestUnbelievableAnswersAreRefused(t *testing.T) {
	var answer func(w http.ResponseWriter)
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	for name, test := range map[string]func(w http.ResponseWriter){
		"too long": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"trust_domain":"%s"}`, strings.Repeat("x", 1<<20))
		},
		"another type": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `{}`)
		},
		"not JSON": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{`)
		},
		"two values": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{}{}`)
		},
	} {
		answer = test
		if bundle, _, err := c.Bundle(t.Context(), ""); err == nil {
			t.Errorf("%s: %+v was accepted", name, bundle)
		}
	}
}

func TestTimeoutsEndARequest(t *testing.T) {
	release := make(chan struct{})
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}, api.WithTimeout(30*time.Millisecond))
	defer close(release)
	if err := c.Health(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the client's timeout: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Health(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller's context: %v", err)
	}
}

// A connection keeps the certificate that it was made with; Reconnect, and a refusal of
// that certificate, make the next request show the current one.
func TestReconnectShowsTheCurrentCertificate(t *testing.T) {
	expired := ""
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		seen := r.RemoteAddr
		if seen == expired {
			w.WriteHeader(http.StatusForbidden)
			json.NewEncoder(w).Encode(api.ErrorBody{Error: &api.Error{Code: api.CodeExpired, Message: "expired"}}) //nolint:errcheck,errchkjson // a test's answer
			return
		}
		json.NewEncoder(w).Encode(api.Bundle{TrustDomain: seen}) //nolint:errcheck,errchkjson // a test's answer
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	defer server.Close()
	handshakes := 0
	config := trust(server)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		handshakes++
		return &tls.Certificate{}, nil
	}
	c, err := api.NewClient(server.URL, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	connection := func() string {
		b, _, err := c.Bundle(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		return b.TrustDomain
	}
	first := connection()
	if second := connection(); second != first || handshakes != 1 {
		t.Errorf("two requests used two connections (%d handshakes)", handshakes)
	}
	c.Reconnect()
	third := connection()
	if third == first || handshakes != 2 {
		t.Errorf("after Reconnect: the same connection (%d handshakes)", handshakes)
	}
	expired = third
	if _, _, err := c.Bundle(t.Context(), ""); err == nil {
		t.Fatal("an expired certificate was accepted")
	}
	if fourth := connection(); fourth == third || handshakes != 3 {
		t.Errorf("after a refusal: the same connection (%d handshakes)", handshakes)
	}
}
