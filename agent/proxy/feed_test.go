package proxy

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
)

// apply adds what f says to a view.
func apply(t *testing.T, view *feed.View, f *testpki.Feed) *feed.View {
	t.Helper()
	next, err := view.Apply(f.Statement(view.Sequence()), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// withFeed is snap, judged by view.
func withFeed(snap *certs.Snapshot, view *feed.View, maxSilence time.Duration) *certs.Snapshot {
	changed := *snap
	changed.Revocation = snap.Revocation.WithFeed(view, maxSilence)
	return &changed
}

// The agent learns that a snapshot is enforced, and not before every connection that it forbids has been cut.
func TestEnforcedIsReportedAfterTheCut(t *testing.T) {
	w := newWorld(t)
	f := w.NewFeed()
	view := apply(t, nil, f)
	snap := withFeed(w.Snapshot(w.orders, hour, w.web.String()), view, 0)
	w.ordersSrc.Set(snap)
	var mu sync.Mutex
	var sequences []uint64
	var open []int
	reported := make(chan struct{}, 16)
	var in *Proxy
	ready := make(chan struct{})
	in = w.serveInbound(t, backend(t, echo), func(cfg *Config) {
		cfg.Enforced = func(snap *certs.Snapshot) {
			<-ready
			mu.Lock()
			sequences = append(sequences, snap.Revocation.Feed().Sequence())
			open = append(open, uncut(in.live))
			mu.Unlock()
			reported <- struct{}{}
		}
	})
	close(ready)
	<-reported
	peer, _ := w.webSrc.Current()
	conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(conn, "before"); err != nil {
		t.Fatal(err)
	}
	sequence := f.Revoke(peer.Certificate.Leaf)
	w.ordersSrc.Set(withFeed(snap, apply(t, view, f), 0))
	<-reported
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(sequences, []uint64{1, sequence}) || open[1] != 0 {
		t.Errorf("reported %v with %v connections uncut", sequences, open)
	}
	if event := waitEvent(t, in, "revoked"); event.What != "connection cut" {
		t.Errorf("event %+v", event)
	}
}

// uncut counts the connections that have not been cut.
func uncut(r *registry) int {
	n := 0
	for _, l := range r.all() {
		l.once.Do(func() { n++ })
	}
	return n
}

// A feed that is silent for longer than the service allows ends what is open, too: who keeps it away must not keep a
// revoked peer alive.
func TestSilentFeedCutsAndRefuses(t *testing.T) {
	w := newWorld(t)
	var offset atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	snap := withFeed(w.Snapshot(w.orders, hour, w.web.String()), apply(t, nil, w.NewFeed()), time.Minute)
	w.ordersSrc.Set(snap)
	in := w.serveInbound(t, backend(t, echo), func(cfg *Config) { cfg.Now = now })
	conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(conn, "x"); err != nil {
		t.Fatal(err)
	}
	offset.Store(int64(2 * time.Minute))
	again := *snap
	w.ordersSrc.Set(&again) // as the agent does when the limit is over
	if event := waitEvent(t, in, "revocation_stale"); event.What != "connection cut" || event.Peer != w.web {
		t.Errorf("event %+v", event)
	}
	if second, err := w.dialTLS(t, in.inboundAddr(), w.webSrc); err == nil {
		if _, err = second.Read(make([]byte, 1)); err == nil {
			t.Error("a new connection was let in")
		}
	}
}

// A refusal that rests on the compact set alone is passed on, so that it is asked about.
func TestUnconfirmedRefusalsArePassedOn(t *testing.T) {
	w := newWorld(t)
	f := w.NewFeed()
	peer, _ := w.webSrc.Current()
	f.Revoke(peer.Certificate.Leaf)
	w.ordersSrc.Set(withFeed(w.Snapshot(w.orders, hour, w.web.String()), apply(t, nil, f), 0))
	refusals := make(chan *certs.Refusal, 4)
	in := w.serveInbound(t, backend(t, echo), func(cfg *Config) {
		cfg.Refused = func(refusal *certs.Refusal) { refusals <- refusal }
	})
	if conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc); err == nil {
		conn.Read(make([]byte, 1))
	}
	select {
	case refusal := <-refusals:
		if !refusal.Unconfirmed || refusal.IssuerKeyID != w.IssuerID() {
			t.Errorf("%+v", refusal)
		}
	case <-time.After(time.Minute):
		t.Error("nothing was passed on")
	}
}
