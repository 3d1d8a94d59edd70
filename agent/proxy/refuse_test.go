package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
	"github.com/handfast/handfast/internal/socketdir"
)

func TestRefusalsNameTheCauseBothIdentitiesAndReachNoService(t *testing.T) {
	w := newWorld(t)
	foreign := testpki.New(t, "test.example", nil) // same name, other keys
	revoked := w.Certificate(w.web, hour)
	expired := w.Certificate(w.web, time.Second)
	tests := []struct {
		name   string
		client *tls.Certificate
		server *certs.Snapshot // nil: orders as it is
		cause  string
	}{
		{"no certificate", nil, nil, "no_certificate"},
		{"another CA of the same name", foreign.Certificate(w.web, hour), nil, "unknown_authority"},
		{"not among the callers", w.Certificate(w.ID("intruder"), hour), nil, "policy_denied"},
		{"an operator", w.Certificate(w.ID("handfast/operator/eve"), hour), w.Snapshot(w.orders, hour, "*"), "policy_denied"},
		{"revoked", revoked, w.SnapshotOf(w.Certificate(w.orders, hour), w.CRL(revoked.Leaf), "*"), "revoked"},
		{"expired", expired, nil, "expired"},
		{"policy unknown", w.Certificate(w.web, hour), without(w.Snapshot(w.orders, hour), true, false), "policy_unknown"},
		{"revocation unknown", w.Certificate(w.web, hour), without(w.Snapshot(w.orders, hour, "*"), false, true), "revocation_unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var reached atomic.Int64
			var log logtest.Buffer
			source := w.ordersSrc
			if tt.server != nil {
				source = testpki.NewSource(tt.server)
			}
			in := serve(t, Config{
				Source: source, Logger: slog.New(slog.NewTextHandler(&log, nil)),
				CATime:  func() (time.Time, bool) { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), true },
				Inbound: []Inbound{{Listen: "127.0.0.1:0", Target: backend(t, func(*net.TCPConn) { reached.Add(1) })}},
			})
			conn := tls.Client(dialPlain(t, in.inboundAddr()), clientShowing(tt.client))
			conn.Handshake() // in TLS 1.3 the refusal may come after the client's handshake
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the peer read %v; want a TLS alert", err)
			}
			event := waitEvent(t, in, tt.cause)
			if got := reached.Load(); got != 0 {
				t.Errorf("the service was reached %d times", got)
			}
			text := log.WaitFor(t, "cause="+tt.cause)
			for _, want := range []string{"own_clock=", "ca_clock=2030-01-02T03:04:05", "self=spiffe://test.example/orders", "cause=" + tt.cause} {
				if !strings.Contains(text, want) {
					t.Errorf("log lacks %s: %s", want, text)
				}
			}
			if tt.client != nil && event.Peer.IsZero() {
				t.Errorf("event %+v does not name the peer", event)
			}
		})
	}
}

// clientShowing trusts everybody and shows cert: a hostile client.
func clientShowing(cert *tls.Certificate) *tls.Config {
	cfg := &tls.Config{InsecureSkipVerify: true}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	return cfg
}

func without(snap *certs.Snapshot, policy, revocation bool) *certs.Snapshot {
	less := *snap
	if policy {
		less.Policy = nil
	}
	if revocation {
		less.Revocation = nil
	}
	return &less
}

func TestClientLearnsThatItWasRefused(t *testing.T) {
	w := newWorld(t)
	w.ordersSrc.Set(w.Snapshot(w.orders, hour)) // nobody may call
	in := w.serveInbound(t, backend(t, echo), nil)
	out := w.serveOutbound(t, nil, in.inboundAddr())
	if err := fate(t, out.outboundAddr()); errors.Is(err, io.EOF) {
		t.Error("the local client saw an orderly end")
	}
	if event := waitEvent(t, out, "refused_by_peer"); event.Peer != w.orders {
		t.Errorf("event %+v does not name the peer", event)
	}
}

// Invariant 25: there are no sessions to resume, and what changed in between is seen.
func TestResumptionIsCheckedLikeANewSession(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, backend(t, echo), nil)
	snap, _ := w.webSrc.Current()
	cfg := clientShowing(snap.Certificate)
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	cfg.ServerName = "orders"
	connect := func() (*tls.Conn, error) {
		conn := tls.Client(dialPlain(t, in.inboundAddr()), cfg)
		return conn, roundTrip(conn, "x") // a ticket would come before the answer
	}
	for range 2 {
		conn, err := connect()
		if err != nil {
			t.Fatal(err)
		}
		if conn.ConnectionState().DidResume {
			t.Fatal("a session was resumed")
		}
		conn.Close()
	}
	w.ordersSrc.Set(w.SnapshotOf(w.Certificate(w.orders, hour), w.CRL(snap.Certificate.Leaf), "*"))
	if _, err := connect(); err == nil {
		t.Fatal("a revoked peer came in with an old session")
	}
	waitEvent(t, in, "revoked")
}

func TestListenRefuses(t *testing.T) {
	w := newWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	regular := filepath.Join(socketdir.New(t), "missing", "socket")
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"occupied port", Config{Inbound: []Inbound{{Listen: taken.Addr().String(), Target: "127.0.0.1:1"}}}, "another program has it"},
		{"plaintext for other hosts", Config{Outbound: []Outbound{{Listen: ":0", Service: "a", Addresses: []string{"h:1"}}}}, "allow-remote"},
		{"reserved service", Config{Outbound: []Outbound{{Listen: "127.0.0.1:0", Service: "handfast/ca", Addresses: []string{"h:1"}}}}, "the CA's own"},
		{"socket without directory", Config{Outbound: []Outbound{{Listen: "unix:" + regular, Service: "a", Addresses: []string{"h:1"}}}}, "listen on"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Source = w.webSrc
			p, err := Listen(t.Context(), tt.cfg)
			if err == nil {
				p.Close()
				t.Fatal("Listen succeeded")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("err = %v; want %q in it", err, tt.want)
			}
		})
	}
	if _, err := Listen(t.Context(), Config{}); err == nil {
		t.Error("Listen without a Source succeeded")
	}
}

func mustCurrent(t *testing.T, source certs.Source) *certs.Snapshot {
	t.Helper()
	snap, err := source.Current()
	if err != nil {
		t.Fatal(err)
	}
	return snap
}
