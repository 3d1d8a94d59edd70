package statusapi

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/agent"
	"github.com/handfast/handfast/agent/proxy"
)

func TestPages(t *testing.T) {
	registry := prometheus.NewRegistry()
	a, err := agent.New(agent.Config{Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	p, err := proxy.Listen(t.Context(), proxy.Config{
		Source: a, Registerer: registry, Inbound: []proxy.Inbound{{Listen: "127.0.0.1:0", Target: "127.0.0.1:1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	server, err := Listen(t.Context(), Config{Agent: a, Proxy: p, Gatherer: registry, Version: "v1.2.3", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	get := func(path string) (int, string) {
		t.Helper()
		response, err := (&http.Client{Timeout: time.Minute}).Get("http://" + server.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if status, body := get("/healthz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "not enrolled") {
		t.Errorf("healthz: %d %s; want 503 and why", status, body)
	}
	if status, body := get("/metrics"); status != http.StatusOK || !strings.Contains(body, "handfast_agent_ready 0") {
		t.Errorf("metrics: %d %s", status, body)
	}
	_, body := get("/status")
	var page Page
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err)
	}
	if page.Ready || page.Version != "v1.2.3" || page.Problem == "" || len(page.Proxy.Listeners) != 1 || page.OwnClock.IsZero() {
		t.Errorf("status page %+v", page)
	}
	if status, _ := get("/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("another path: %d", status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestListenRefusals(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, want := range map[string]string{
		":0": "allow-remote", "10.0.0.1:1": "allow-remote", "nonsense": "HOST:PORT", taken.Addr().String(): "another address",
	} {
		server, err := Listen(t.Context(), Config{Listen: address})
		if err == nil {
			server.Close()
			t.Errorf("%s was bound", address)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: err = %v; want %q in it", address, err, want)
		}
	}
	if err := CheckListen("0.0.0.0:1", true); err != nil {
		t.Errorf("allowed all the same: %v", err)
	}
}

func TestAnEveryInterfaceAddressIsAskedOnLoopback(t *testing.T) {
	for address, want := range map[string]string{
		":9100": "127.0.0.1:9100", "0.0.0.0:9100": "127.0.0.1:9100", "[::]:9100": "[::1]:9100", "127.0.0.1:9100": "127.0.0.1:9100", "host:9100": "host:9100",
		"nonsense": "", "127.0.0.1:0": "",
	} {
		if got, err := dialable(address); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", address, got, err, want)
		}
	}
}
