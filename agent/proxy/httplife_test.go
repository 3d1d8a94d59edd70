package proxy

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
)

func TestServiceDownIs502(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, "127.0.0.1:1", withMode(ModeHTTP))
	response, err := w.client(t, false).Get("https://" + in.inboundAddr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d; want 502", response.StatusCode)
	}
	if event := waitEvent(t, in, "target"); event.Peer != w.web {
		t.Errorf("event %+v does not name the peer", event)
	}
}

func TestNearlyExpiredPeersAreToldToReconnect(t *testing.T) {
	w := newWorld(t)
	peer := w.Certificate(w.web, hour)
	w.webSrc = testpki.NewSource(w.SnapshotOf(peer, w.CRL()))
	w.ordersSrc = testpki.NewSource(w.Snapshot(w.orders, 20*hour, "*"))
	shift := time.Until(peer.Leaf.NotAfter.Add(-5 * time.Minute))
	in := w.serveInbound(t, webBackend(t, func(http.ResponseWriter, *http.Request) {}), func(cfg *Config) {
		cfg.Inbound[0].Mode = ModeHTTP
		cfg.Now = func() time.Time { return time.Now().Add(shift) }
	})
	for _, http2 := range []bool{false, true} {
		client := w.client(t, http2)
		before := in.inbounds[0].accepted.Load()
		for range 3 {
			response, err := client.Get("https://" + in.inboundAddr() + "/")
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			waitIdle(t, in)
		}
		if got := in.inbounds[0].accepted.Load() - before; got != 3 {
			t.Errorf("HTTP/2 %v: %d connections for 3 requests; want a new one each", http2, got)
		}
	}
}

// waitIdle waits until the listener has no open connection.
func waitIdle(t *testing.T, p *Proxy) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for p.inbounds[0].openNow() > 0 {
		if time.Now().After(deadline) {
			t.Fatal("a connection stays open")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestHTTPDrainFinishesRequests(t *testing.T) {
	w := newWorld(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	target := webBackend(t, func(rw http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		io.WriteString(rw, "finished")
	})
	p, err := Listen(t.Context(), Config{Source: w.ordersSrc, DrainTimeout: time.Minute,
		Inbound: []Inbound{{Listen: "127.0.0.1:0", Target: target, Mode: ModeHTTP}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	answer := make(chan string, 1)
	go func() {
		response, err := w.client(t, true).Get("https://" + p.inboundAddr() + "/")
		if err != nil {
			answer <- err.Error()
			return
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		answer <- string(body)
	}()
	<-entered
	cancel()
	time.Sleep(10 * time.Millisecond) // until the draining has begun, mostly
	close(leave)
	if got := <-answer; got != "finished" {
		t.Errorf("the request in flight ended with %q", got)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
