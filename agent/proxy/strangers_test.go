package proxy

import (
	"context"
	"testing"
	"time"
)

// Connections that never say who they are keep no peer out, and cut none that is verified.
func TestStrangersMakeWayForPeers(t *testing.T) {
	w := newWorld(t)
	p, err := Listen(t.Context(), Config{
		Source: w.ordersSrc, DrainTimeout: 100 * time.Millisecond,
		Inbound: []Inbound{{Listen: "127.0.0.1:0", Target: backend(t, echo), Limits: Limits{MaxConnections: 4}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.inbounds[0].strangers.grace = 500 * time.Millisecond // time enough for a handshake on a busy machine
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	first, err := w.dialTLS(t, p.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(first, "x"); err != nil { // the server knows it by now
		t.Fatal(err)
	}
	for range 6 {
		dialPlain(t, p.inboundAddr())
	}
	began := time.Now()
	second, err := w.dialTLS(t, p.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(second, "y"); err != nil {
		t.Fatalf("the peer that came after the strangers: %v", err)
	}
	if err := roundTrip(first, "z"); err != nil {
		t.Fatalf("the peer that came before the strangers: %v", err)
	}
	if took := time.Since(began); took > handshakeTimeout*3/4 {
		t.Errorf("the peer waited %v behind strangers", took)
	}
	waitEvent(t, p, "crowded_out")
}
