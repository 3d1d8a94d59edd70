package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A connection whose other end vanished without a word (power cut, firewall) is found by
// pings, also while a request waits on it.
func TestDeadConnectionIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered := make(chan struct{}, 1)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			<-r.Context().Done()
		}))
		memory := inMemory(server)
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		pool := x509.NewCertPool()
		pool.AddCert(server.Certificate())
		c, err := NewClient(server.URL, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13})
		if err != nil {
			t.Fatal(err)
		}
		var dead atomic.Bool
		c.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := memory.Dial(ctx, network, address)
			return &severable{conn, &dead}, err
		}
		c.Reconnect()
		result := make(chan error, 1)
		go func() {
			_, err := c.Progress(t.Context(), 1, MaxWait)
			result <- err
		}()
		<-entered
		time.Sleep(MaxWait / 2)
		select {
		case err := <-result:
			t.Fatalf("a living connection was given up: %v", err)
		default:
		}
		dead.Store(true)
		began := time.Now()
		if err := <-result; err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a dead connection brought %v", err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it was found after %v", took)
		}
	})
}

// severable is a connection that swallows what is written once it is dead.
type severable struct {
	net.Conn
	dead *atomic.Bool
}

func (c *severable) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
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
