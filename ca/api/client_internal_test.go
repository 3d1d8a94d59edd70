package api

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A connection whose other end vanished without a word (power cut, firewall) is found by
// pings, also while a request waits on it.
func TestDeadConnectionIsFound(t *testing.T) {
	entered := make(chan struct{}, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close) // after the relay's: only then the handler's request ends
	var dead atomic.Bool
	address := relay(t, server.Listener.Addr().String(), &dead)

	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	c, err := NewClient("https://"+address, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	h2 := c.http.Load().Transport.(*http.Transport).HTTP2
	if found := h2.SendPingTimeout + h2.PingTimeout; found <= 0 || found > 15*time.Second {
		t.Fatalf("a dead connection is found after %v", found)
	}
	h2.SendPingTimeout, h2.PingTimeout = 50*time.Millisecond, 50*time.Millisecond
	result := make(chan error, 1)
	go func() {
		_, err := c.Progress(t.Context(), 1, MaxWait)
		result <- err
	}()
	<-entered
	select {
	case err := <-result:
		t.Fatalf("a living connection was given up: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	dead.Store(true)
	select {
	case err := <-result:
		if err == nil {
			t.Error("an answer came out of a dead connection")
		}
	case <-time.After(5 * time.Second):
		t.Error("the dead connection was not found")
	}
}

// relay forwards TCP until dead, and then swallows everything with the connections open.
func relay(t *testing.T, target string, dead *atomic.Bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	forward := func(to io.Writer, from io.Reader) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				return
			}
			if !dead.Load() {
				to.Write(buffer[:n]) //nolint:errcheck // the reader's end notices
			}
		}
	}
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			t.Cleanup(func() { in.Close(); out.Close() })
			go forward(out, in)
			go forward(in, out)
		}
	}()
	return listener.Addr().String()
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, "-5": 0, "5.5": 0, "soon": 0, "99999": time.Hour, "99999999999999999999": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
		now.Add(48 * time.Hour).Format(http.TimeFormat):   time.Hour,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("Retry-After %q: %v, want %v", value, got, want)
		}
	}
}

// A name never leaves its path segment: what is escaped is the name again, and no other
// route, query or fragment begins in it.
func FuzzEscapePath(f *testing.F) {
	for _, seed := range []string{"web", "shop/web", "a?b", "a#b", "%2e%2e", "a b", "ü", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		request, err := http.NewRequest(http.MethodGet, "https://ca/v1/services/"+escapePath(name), nil)
		if err != nil {
			t.Fatal(err)
		}
		if request.URL.Path != "/v1/services/"+name || request.URL.RawQuery != "" || request.URL.Fragment != "" {
			t.Fatalf("%q became %q", name, request.URL)
		}
		if strings.ContainsAny(request.URL.RequestURI(), " ?#") {
			t.Fatalf("%q is sent as %q", name, request.URL.RequestURI())
		}
	})
}
