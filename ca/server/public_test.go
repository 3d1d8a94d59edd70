package server

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// An OCSP request in a path is base64: "//" and escapes reach the publisher as they came.
func TestPublisherSeesThePathAsItCame(t *testing.T) {
	st := start(t, nil)
	for _, target := range []string{"/ocsp/MFAw//Tj+A==", "/ocsp/MFAw%2F%2ftj%2BA%3D%3D", "/ocsp//", "/ocsp/../x", "/ocsp", "/crl/aabb.crl"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(st.public, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: ca\r\nConnection: close\r\n\r\n", target)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if seen := response.Header.Get("X-Seen"); seen != target || response.StatusCode != 200 {
			t.Errorf("%s: status %d, the publisher saw %q", target, response.StatusCode, seen)
		}
		conn.Close()
	}
}

// askPublic has the public handler answer as it does behind its listener, without one.
func askPublic(t *testing.T, s *Server, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.SetMethod(r.Method)
	ctx.Request.Header.SetRequestURI(r.RequestURI)
	ctx.Request.Header.SetHost(r.Host)
	for name, values := range r.Header {
		ctx.Request.Header.Set(name, strings.Join(values, ", "))
	}
	s.Public()(&ctx)
	w := httptest.NewRecorder()
	for name, value := range ctx.Response.Header.All() {
		w.Header().Add(string(name), string(value))
	}
	w.WriteHeader(ctx.Response.StatusCode())
	w.Write(ctx.Response.Body())
	return w
}

func TestPublicDocuments(t *testing.T) {
	s, st := newServer(t, nil)
	get := func(target, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("If-None-Match", tag)
		return askPublic(t, s, r)
	}
	issuer := get("/ca/aabb.crt", "")
	if cert, err := x509.ParseCertificate(issuer.Body.Bytes()); err != nil || !cert.Equal(st.pki.root) || issuer.Header().Get("Content-Type") != "application/pkix-cert" {
		t.Errorf("issuer: %v, %v", issuer.Header(), err)
	}
	root := get(fmt.Sprintf("/ca/%x.crt", st.pki.root.SubjectKeyId), "")
	if root.Code != 200 || root.Body.String() != issuer.Body.String() {
		t.Errorf("root by its key id: %d", root.Code)
	}
	roots := get("/roots.pem", "")
	block, rest := pem.Decode(roots.Body.Bytes())
	if block == nil || len(rest) != 0 || string(block.Bytes) != string(st.pki.root.Raw) {
		t.Errorf("roots: %s", roots.Body)
	}
	if again := get("/roots.pem", roots.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("roots again: %d", again.Code)
	}
	for _, target := range []string{"/", "/ca/", "/ca/ffff.crt", "/ca/aabb", "/ca/aabb.crt/", "/v1/bundle", "/v1/enroll", "/metrics", "//healthz", "/roots.pem/"} {
		if w := get(target, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", target, w.Code)
		}
	}
}

func TestPublicMethods(t *testing.T) {
	s, _ := newServer(t, nil)
	for _, test := range []struct {
		method, target string
		status         int
	}{
		{"HEAD", "/healthz", 200}, {"POST", "/ocsp", 200}, {"POST", "/ocsp/", 200}, {"HEAD", "/crl/aabb.crl", 200},
		{"POST", "/crl/aabb.crl", 405}, {"POST", "/roots.pem", 405}, {"PUT", "/ocsp", 405}, {"DELETE", "/ca/aabb.crt", 405}, {"POST", "/v1/enroll", 405},
	} {
		w := askPublic(t, s, httptest.NewRequest(test.method, test.target, nil))
		if w.Code != test.status {
			t.Errorf("%s %s: status %d, want %d", test.method, test.target, w.Code, test.status)
		}
	}
}

func TestReadinessSaysWhatIsWrong(t *testing.T) {
	var asked atomic.Int64
	now := time.Now()
	st := start(t, func(cfg *Config) {
		cfg.Now = func() time.Time { return now.Add(time.Duration(asked.Load()) * time.Millisecond) }
	})
	if err := st.client("").Ready(t.Context()); err != nil {
		t.Fatalf("ready: %v", err)
	}
	st.change(func() { st.problems = []string{"the ledger cannot be written: disk full", "the clock is wrong"} })
	if err := st.client("").Ready(t.Context()); err != nil {
		t.Errorf("within the second the answer is not asked for again: %v", err)
	}
	asked.Store(1000)
	err := st.client("").Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "disk full; the clock is wrong") {
		t.Errorf("not ready: %v", err)
	}
	response, err := http.Get(st.public + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "disk full") {
		t.Errorf("public readyz: %d %s", response.StatusCode, body)
	}
	if err := st.client("").Health(t.Context()); err != nil {
		t.Errorf("health does not depend on readiness: %v", err)
	}
}

func TestMetricsListenerShowsMetricsOnly(t *testing.T) {
	s, _ := newServer(t, nil)
	for target, status := range map[string]int{"/metrics": 200, "/v1/status": 404, "/": 404} {
		w := httptest.NewRecorder()
		s.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if w.Code != status {
			t.Errorf("%s: status %d, want %d", target, w.Code, status)
		}
	}
}
