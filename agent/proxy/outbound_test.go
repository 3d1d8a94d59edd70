package proxy

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
)

func TestFailoverOverDeadAndWrongPeers(t *testing.T) {
	w := newWorld(t)
	other := testpki.NewSource(w.Snapshot(w.ID("billing"), hour, "*"))
	wrong := serve(t, Config{Source: other, Inbound: []Inbound{{Listen: "127.0.0.1:0", Target: backend(t, echo)}}})
	right := w.serveInbound(t, backend(t, echo), nil)
	out := w.serveOutbound(t, nil, "127.0.0.1:1", wrong.inboundAddr(), right.inboundAddr())
	for range 2 { // the second time the failed addresses stand last
		if err := roundTrip(dialPlain(t, out.outboundAddr()), "hello"); err != nil {
			t.Fatal(err)
		}
	}
	if got := wrong.inbounds[0].accepted.Load(); got != 1 {
		t.Errorf("the wrong peer was dialled %d times; want once, then not while it rests", got)
	}
}

func TestBlackHoleCostsTheConnectTimeoutOnly(t *testing.T) {
	t.Parallel() // a second of waiting, at least
	w := newWorld(t)
	silent := backend(t, func(conn *net.TCPConn) { io.Copy(io.Discard, conn) }) // accepts, never shakes hands
	right := w.serveInbound(t, backend(t, echo), nil)
	out := w.serveOutbound(t, func(cfg *Config) { cfg.Outbound[0].ConnectTimeout = time.Second }, silent, right.inboundAddr())
	// The timeout is the good peer's handshake's as well, which may come too late on a busy machine.
	err := errors.New("not tried")
	for patience := time.Now().Add(time.Minute); err != nil && time.Now().Before(patience); {
		err = roundTrip(dialPlain(t, out.outboundAddr()), "hello")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoPeerLeftIsAResetWithTheCauses(t *testing.T) {
	w := newWorld(t)
	other := testpki.NewSource(w.Snapshot(w.ID("billing"), hour, "*"))
	wrong := serve(t, Config{Source: other, Inbound: []Inbound{{Listen: "127.0.0.1:0", Target: backend(t, echo)}}})
	out := w.serveOutbound(t, nil, wrong.inboundAddr())
	if err := fate(t, out.outboundAddr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the local client saw %v; want a reset, not an orderly end", err)
	}
	event := waitEvent(t, out, "wrong_identity")
	for _, want := range []string{"spiffe://test.example/billing", "spiffe://test.example/orders", wrong.inboundAddr()} {
		if !strings.Contains(event.Error, want) {
			t.Errorf("event %q does not name %s", event.Error, want)
		}
	}
}

func TestOutboundFailsClosedWithoutCertificate(t *testing.T) {
	w := newWorld(t)
	w.webSrc.Set(nil)
	in := w.serveInbound(t, backend(t, echo), nil)
	out := w.serveOutbound(t, nil, in.inboundAddr())
	if err := fate(t, out.outboundAddr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the local client saw %v; want a reset", err)
	}
	waitEvent(t, out, "own_certificate")
	if got := in.inbounds[0].accepted.Load(); got != 0 {
		t.Errorf("the peer was dialled %d times without a certificate", got)
	}
}
