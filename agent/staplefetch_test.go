package agent

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

func TestFetchStapleOverHTTP(t *testing.T) {
	redirected := false
	answer := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			io.WriteString(w, body)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/ocsp-request" || string(body) != "question" {
			t.Errorf("%s %q: %v", r.Method, body, err)
		}
		answer("application/ocsp-response", "answer")(w, r)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { redirected = true })
	mux.Handle("/redirect", http.RedirectHandler("/elsewhere", http.StatusTemporaryRedirect))
	mux.HandleFunc("/page", answer("text/html", "welcome"))
	mux.HandleFunc("/down", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/long", answer("application/ocsp-response", strings.Repeat("x", 10*certs.MaxStapleSize)))
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then does the server see that the client has gone
		<-r.Context().Done()
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, want := range map[string]string{
		"/good": "answer", "/redirect": "", "/page": "", "/down": "", "/slow": "",
		"/long": strings.Repeat("x", certs.MaxStapleSize+1), // no more is read; it is too long for CheckStaple
	} {
		limit := time.Minute
		if path == "/slow" {
			limit = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		got, err := fetchStapleHTTP()(ctx, server.URL+path, []byte("question"))
		cancel()
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %d octets, %v", path, len(got), err)
		}
	}
	if redirected {
		t.Error("the redirect was followed")
	}
}
