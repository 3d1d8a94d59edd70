package proxy

import (
	"context"
	"crypto/tls"
	"errors"
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
	p.inbounds[0].strangers.grace = 500 * time.Millisecond
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
	err = errors.New("not tried")
	for patience := time.Now().Add(time.Minute); err != nil && time.Now().Before(patience); {
		// On a busy machine its handshake may take longer than the grace: then it makes way as well, and comes again.
		var second *tls.Conn
		if second, err = w.dialTLS(t, p.inboundAddr(), w.webSrc); err == nil {
			err = roundTrip(second, "y")
		}
	}
	if err != nil {
		t.Fatalf("the peer that came after the strangers: %v", err)
	}
	if err := roundTrip(first, "z"); err != nil {
		t.Fatalf("the peer that came before the strangers: %v", err)
	}
	waitEvent(t, p, "crowded_out")
}
