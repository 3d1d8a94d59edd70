package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
)

func TestLiveConnectionsAreCut(t *testing.T) {
	tests := []struct {
		name   string
		change func(w *world, peer *tls.Certificate)
		cause  string
	}{
		{"when the peer is revoked", func(w *world, peer *tls.Certificate) {
			w.ordersSrc.Set(w.SnapshotOf(w.Certificate(w.orders, hour), w.CRL(peer.Leaf), w.web.String()))
		}, "revoked"},
		{"when policy forbids the peer", func(w *world, _ *tls.Certificate) {
			w.ordersSrc.Set(w.Snapshot(w.orders, hour, w.ID("other").String()))
		}, "policy_denied"},
		{"when policy is lost", func(w *world, _ *tls.Certificate) {
			w.ordersSrc.Set(without(w.Snapshot(w.orders, hour), true, false))
		}, "policy_unknown"},
		{"when its root is no longer trusted", func(w *world, _ *tls.Certificate) {
			other := testpki.New(t, "test.example", nil)
			w.ordersSrc.Set(other.Snapshot(w.orders, hour, w.web.String()))
		}, "unknown_authority"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.serveInbound(t, backend(t, echo), nil)
			snap, _ := w.webSrc.Current()
			conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
			if err != nil {
				t.Fatal(err)
			}
			if err := roundTrip(conn, "before"); err != nil {
				t.Fatal(err)
			}
			// A rotation alone cuts nobody.
			w.ordersSrc.Set(w.Snapshot(w.orders, hour, w.web.String()))
			if err := roundTrip(conn, "after a rotation"); err != nil {
				t.Fatal(err)
			}
			tt.change(w, snap.Certificate)
			if err := ended(conn); errors.Is(err, io.EOF) {
				t.Error("the cut looks like an orderly end")
			}
			if event := waitEvent(t, in, tt.cause); event.What != "connection cut" || event.Peer != w.web {
				t.Errorf("event %+v", event)
			}
		})
	}
}

func TestStaleRevocationKeepsLiveConnectionsAndRefusesNewOnes(t *testing.T) {
	w := newWorld(t)
	var offset atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	w.webSrc = testpki.NewSource(w.Snapshot(w.web, 60*hour))
	w.ordersSrc = testpki.NewSource(w.Snapshot(w.orders, 60*hour, "*"))
	in := w.serveInbound(t, backend(t, echo), func(cfg *Config) { cfg.Now = now })
	conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(conn, "x"); err != nil {
		t.Fatal(err)
	}
	offset.Store(int64(25 * hour)) // past the CRL's nextUpdate
	in.live.recheck()
	if err := roundTrip(conn, "y"); err != nil {
		t.Fatalf("cut although nothing new is known about the peer: %v", err)
	}
	second, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err == nil {
		_, err = second.Read(make([]byte, 1))
	}
	if err == nil {
		t.Fatal("a new connection was let in on stale revocation data")
	}
	waitEvent(t, in, "revocation_stale")
}

func TestConnectionEndsWithThePeersCertificate(t *testing.T) {
	w := newWorld(t)
	var offset atomic.Int64
	w.ordersSrc = testpki.NewSource(w.Snapshot(w.orders, 20*hour, "*"))
	in := w.serveInbound(t, backend(t, echo), func(cfg *Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	})
	conn := tls.Client(dialPlain(t, in.inboundAddr()), clientShowing(w.Certificate(w.web, hour)))
	if err := roundTrip(conn, "before"); err != nil {
		t.Fatal(err)
	}
	offset.Store(int64(hour))
	in.live.recheck() // that its time comes by itself shows below
	ended(conn)
	if event := waitEvent(t, in, "expired"); event.What != "connection cut" {
		t.Errorf("event %+v; want a cut", event)
	}
}

// A connection ends with the peer's certificate. Where it is configured it may end in its own time after that, but
// not later than that, and not when something else speaks against the peer.
func TestConnectionDrainsAfterThePeersCertificate(t *testing.T) {
	for _, tt := range []struct {
		drain   time.Duration
		revoked bool
	}{{0, false}, {10 * time.Minute, false}, {10 * time.Minute, true}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.ordersSrc.Set(w.Snapshot(w.orders, 20*hour, "*"))
			peer, err := certs.Verify(chainOf(t, w), mustCurrent(t, w.ordersSrc), x509.ExtKeyUsageClientAuth, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			r := newRegistry(w.ordersSrc, time.Now)
			cuts := make(chan error, 1)
			l := r.add(peer, inbound, tt.drain, func(cause error) { cuts <- cause })
			defer r.remove(l)
			time.Sleep(time.Until(peer.Certificate.NotAfter) + tt.drain - time.Minute)
			r.recheck()
			select {
			case cause := <-cuts:
				t.Fatalf("cut before its time: %v", cause)
			default:
			}
			want := certs.CauseExpired
			if tt.revoked {
				want = certs.CauseRevoked
				w.ordersSrc.Set(w.SnapshotOf(w.Certificate(w.orders, hour), w.CRL(peer.Certificate), "*"))
				r.recheck()
			}
			began := time.Now()
			if cause := <-cuts; causeOf(cause) != string(want) || time.Since(began) > time.Minute {
				t.Errorf("cut for %v after %v; want %s", cause, time.Since(began), want)
			}
		})
	}
}

func TestOutboundCutsARevokedServer(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, backend(t, echo), nil)
	out := w.serveOutbound(t, nil, in.inboundAddr())
	conn := dialPlain(t, out.outboundAddr())
	if err := roundTrip(conn, "x"); err != nil {
		t.Fatal(err)
	}
	server, _ := w.ordersSrc.Current()
	w.webSrc.Set(w.SnapshotOf(w.Certificate(w.web, hour), w.CRL(server.Certificate.Leaf)))
	if err := ended(conn); errors.Is(err, io.EOF) {
		t.Error("the cut looks like an orderly end")
	}
	waitEvent(t, out, "revoked")
}

func TestVerifiedPeerHasItsWholeChain(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, backend(t, echo), nil)
	conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(conn, "x"); err != nil {
		t.Fatal(err)
	}
	all := in.live.all()
	if len(all) != 1 || all[0].peer.ID != w.web || len(all[0].peer.Chain) != 3 {
		t.Fatalf("registry holds %+v; want web with leaf, issuing and root", all)
	}
	if err := all[0].peer.Check(mustCurrent(t, w.ordersSrc), time.Now()); err != nil {
		t.Fatal(err)
	}
}

// Who is revoked has no business with anybody, whether or not the other side knows it yet.
func TestOwnRevocationCutsBothWays(t *testing.T) {
	w := newWorld(t)
	target := backend(t, echo)
	in := w.serveInbound(t, target, nil)
	own := w.Certificate(w.web, hour)
	w.webSrc.Set(w.SnapshotOf(own, w.CRL(), w.orders.String()))
	out := serve(t, Config{
		Source: w.webSrc, Outbound: []Outbound{{Listen: "127.0.0.1:0", Service: "orders", Addresses: []string{in.inboundAddr()}}},
		Inbound: []Inbound{{Listen: "127.0.0.1:0", Target: target}},
	})
	there := dialPlain(t, out.outboundAddr())
	back := tls.Client(dialPlain(t, out.inboundAddr()), certs.ClientConfig(w.ordersSrc, w.web))
	for _, conn := range []net.Conn{there, back} {
		if err := roundTrip(conn, "before"); err != nil {
			t.Fatal(err)
		}
	}
	w.webSrc.Set(w.SnapshotOf(own, w.CRL(own.Leaf), w.orders.String()))
	for _, conn := range []net.Conn{there, back} {
		if err := ended(conn); errors.Is(err, io.EOF) {
			t.Error("the cut looks like an orderly end")
		}
	}
	if event := waitEvent(t, out, "revoked"); event.What != "connection cut" || !strings.Contains(event.Error, "own certificate") {
		t.Errorf("event %+v", event)
	}
	counted := 0
	for deadline := time.Now().Add(time.Minute); counted < 2; time.Sleep(time.Millisecond) {
		kinds := make(chan prometheus.Metric, 8)
		out.metrics.cuts.Collect(kinds)
		if counted = len(kinds); time.Now().After(deadline) {
			t.Fatalf("%d kinds of cuts are counted; want one in each direction", counted)
		}
	}
}

// Of two agents that hear of a revocation the later one finds its connections reset. It says why as soon as it knows.
func TestResetIsExplainedByTheNewsThatFollow(t *testing.T) {
	w := newWorld(t)
	own := mustCurrent(t, w.webSrc).Certificate
	in := w.serveInbound(t, backend(t, echo), nil)
	out := w.serveOutbound(t, nil, in.inboundAddr())
	conn := dialPlain(t, out.outboundAddr())
	if err := roundTrip(conn, "before"); err != nil {
		t.Fatal(err)
	}
	w.ordersSrc.Set(w.SnapshotOf(w.Certificate(w.orders, hour), w.CRL(own.Leaf), "*"))
	waitEvent(t, in, "revoked")
	time.Sleep(10 * time.Millisecond) // until the reset has come, mostly
	w.webSrc.Set(w.SnapshotOf(own, w.CRL(own.Leaf)))
	if event := waitEvent(t, out, "revoked"); event.What != "connection cut" {
		t.Errorf("event %+v", event)
	}
	for _, event := range out.Status().Events {
		if event.Cause == "network" {
			t.Errorf("it is called a failure too: %+v", event)
		}
	}
}

// A peer that is revoked between its handshake and its registration does not slip through.
func TestRegistrationJudgesOnceMore(t *testing.T) {
	w := newWorld(t)
	peer, err := certs.Verify(chainOf(t, w), mustCurrent(t, w.ordersSrc), x509.ExtKeyUsageClientAuth, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.ordersSrc.Set(w.SnapshotOf(w.Certificate(w.orders, hour), w.CRL(peer.Certificate), "*"))
	r := newRegistry(w.ordersSrc, time.Now)
	var cut error
	r.remove(r.add(peer, inbound, 0, func(cause error) { cut = cause }))
	if causeOf(cut) != string(certs.CauseRevoked) {
		t.Errorf("cut for %v; want revoked", cut)
	}
	if len(r.byID) != 0 {
		t.Error("the registry keeps what has ended")
	}
}

func chainOf(t *testing.T, w *world) []*x509.Certificate {
	t.Helper()
	return []*x509.Certificate{mustCurrent(t, w.webSrc).Certificate.Leaf, w.Issuing}
}
