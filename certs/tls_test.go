package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rotating is a Source whose snapshot a test replaces.
type rotating struct{ atomic.Pointer[Snapshot] }

func newRotating(snap *Snapshot) *rotating {
	r := new(rotating)
	r.Store(snap)
	return r
}

func (r *rotating) Current() (*Snapshot, error) {
	if snap := r.Load(); snap != nil {
		return snap, nil
	}
	return nil, errors.New("not enrolled yet")
}

// shake runs a handshake and a byte each way, so that tickets arrive and a server's refusal
// reaches the client. It returns each side's error and the client's view.
//
//nolint:staticcheck // two errors, one of each side
func shake(t testing.TB, server, client *tls.Config) (atServer, atClient error, state tls.ConnectionState) {
	t.Helper()
	a, b := connected(t)
	deadline := time.Now().Add(time.Minute)
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() {
		defer a.Close()
		conn := tls.Server(a, server)
		err := conn.HandshakeContext(context.Background())
		if err == nil {
			_, err = conn.Write([]byte{1})
		}
		if err == nil {
			_, err = io.ReadFull(conn, make([]byte, 1))
		}
		done <- err
	}()
	conn := tls.Client(b, client)
	atClient = conn.HandshakeContext(context.Background())
	if atClient == nil {
		_, atClient = io.ReadFull(conn, make([]byte, 1))
	}
	if atClient == nil {
		_, atClient = conn.Write([]byte{1})
	}
	state = conn.ConnectionState()
	b.Close()
	return <-done, atClient, state
}

// A peer's certificates are kept once, however many connections it has: what its second handshake has parsed is
// for the collector.
func TestConnectionsShareCertificates(t *testing.T) {
	w := newWorld(t, time.Now())
	api, web := w.snapshot(t, "api"), w.snapshot(t, "web")
	config := ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td))
	var kept [][]*x509.Certificate
	for range 2 {
		a, b := connected(t)
		defer b.Close()
		go tls.Client(b, ClientConfig(fixed{web, nil}, api.ID)).Handshake() // the server says how it went
		server := tls.Server(a, config)
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		kept = append(kept, server.ConnectionState().PeerCertificates)
	}
	if len(kept[0]) != 2 || !slices.Equal(kept[0], kept[1]) {
		t.Errorf("%d certificates and %d, not the same in memory", len(kept[0]), len(kept[1]))
	}
	for i, cert := range kept[1] {
		if string(cert.Raw) != string(web.Certificate.Certificate[i]) {
			t.Errorf("certificate %d is not the one that the client showed", i)
		}
	}
}

// connected is both ends of a connection on loopback; net.Pipe has no buffers, and both
// sides of a handshake may write at once.
func connected(t testing.TB) (a, b net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	b, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestHandshake(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	api, web := w.snapshot(t, "api", "spiffe://prod.test/web"), w.snapshot(t, "web")
	apiID, webID := api.ID, web.ID
	clock := WithClock(func() time.Time { return now })
	late := WithClock(func() time.Time { return now.Add(90 * time.Minute) })
	other := newWorld(t, now)
	stranger := other.snapshot(t, "web")
	without := func(snap *Snapshot, c func(*Snapshot)) *Snapshot {
		changed := *snap
		c(&changed)
		return &changed
	}
	for _, test := range []struct {
		name           string
		server, client *tls.Config
		serverCause    Cause
		clientCause    Cause
	}{
		{"allowed", ServerConfig(fixed{api, nil}, AllowPolicy(fixed{api, nil}), clock), ClientConfig(fixed{web, nil}, apiID, clock), "", ""},
		{"policy denies", ServerConfig(fixed{api, nil}, AllowID(apiID), clock), ClientConfig(fixed{web, nil}, apiID, clock), CausePolicyDenied, ""},
		{"no authorizer", ServerConfig(fixed{api, nil}, nil, clock), ClientConfig(fixed{web, nil}, apiID, clock), CausePolicyUnknown, ""},
		{"no policy", ServerConfig(fixed{api, nil}, AllowPolicy(fixed{without(api, func(s *Snapshot) { s.Policy = nil }), nil}), clock), ClientConfig(fixed{web, nil}, apiID, clock), CausePolicyUnknown, ""},
		{"the other service answers", ServerConfig(fixed{web, nil}, AllowTrustDomain(w.td), clock), ClientConfig(fixed{web, nil}, apiID, clock), "-", CauseWrongIdentity},
		{"same path, another domain was dialled", ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td), clock), ClientConfig(fixed{web, nil}, mustID(t, "spiffe://evil.test/api"), clock), "-", CauseWrongIdentity},
		{"nobody in particular was dialled", ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td), clock), ClientConfig(fixed{web, nil}, ID{}, clock), "-", CauseWrongIdentity},
		{"no client certificate", ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td), clock), withoutCertificate(ClientConfig(fixed{web, nil}, apiID, clock)), CauseNoCertificate, ""},
		{"a stranger calls", ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td), clock), ClientConfig(fixed{without(stranger, func(s *Snapshot) { s.Bundle, s.Revocation = web.Bundle, web.Revocation }), nil}, apiID, clock), CauseUnknownAuthority, ""},
		{"a stranger answers", ServerConfig(fixed{stranger, nil}, AllowTrustDomain(w.td), clock), ClientConfig(fixed{web, nil}, webID, clock), "-", CauseUnknownAuthority},
		{"the client is revoked", ServerConfig(fixed{without(api, func(s *Snapshot) { s.Revocation = w.revocation(t, 2, web.Certificate.Leaf) }), nil}, AllowTrustDomain(w.td), clock), ClientConfig(fixed{web, nil}, apiID, clock), CauseRevoked, ""},
		{"the server is revoked", ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td), clock), ClientConfig(fixed{without(web, func(s *Snapshot) { s.Revocation = w.revocation(t, 2, api.Certificate.Leaf) }), nil}, apiID, clock), "-", CauseRevoked},
		{"the server knows no revocation", ServerConfig(fixed{without(api, func(s *Snapshot) { s.Revocation = nil }), nil}, AllowTrustDomain(w.td), clock), ClientConfig(fixed{web, nil}, apiID, clock), CauseRevocationUnknown, ""},
		{"the server's own has expired", ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td), late), ClientConfig(fixed{web, nil}, apiID, clock), CauseOwnCertificate, ""},
		{"the client's own has expired", ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td), clock), ClientConfig(fixed{web, nil}, apiID, late), "-", CauseOwnCertificate},
		{"the server has nothing yet", ServerConfig(newRotating(nil), AllowTrustDomain(w.td), clock), ClientConfig(fixed{web, nil}, apiID, clock), CauseOwnCertificate, ""},
		{"the client has nothing yet", ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td), clock), ClientConfig(newRotating(nil), apiID, clock), "-", CauseOwnCertificate},
		{"no source", ServerConfig(nil, AllowTrustDomain(w.td), clock), ClientConfig(fixed{web, nil}, apiID, clock), CauseOwnCertificate, ""},
	} {
		atServer, atClient, _ := shake(t, test.server, test.client)
		refused := test.serverCause != "" || test.clientCause != ""
		if (atServer != nil) != refused || (atClient != nil) != refused {
			t.Errorf("%s: server %v, client %v", test.name, atServer, atClient)
			continue
		}
		if test.serverCause != "-" && test.serverCause != "" && causeOf(t, atServer) != test.serverCause {
			t.Errorf("%s: server %v", test.name, atServer)
		}
		if test.clientCause != "" && causeOf(t, atClient) != test.clientCause {
			t.Errorf("%s: client %v", test.name, atClient)
		}
	}
}

func withoutCertificate(cfg *tls.Config) *tls.Config {
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
	return cfg
}

func TestConfigsAreStrict(t *testing.T) {
	w := newWorld(t, time.Now())
	api := fixed{w.snapshot(t, "api"), nil}
	for _, cfg := range []*tls.Config{
		ServerConfig(api, AllowTrustDomain(w.td), WithNextProtos("h2", "http/1.1")),
		ClientConfig(api, api.snap.ID, WithNextProtos("h2", "http/1.1"), WithClock(nil)),
	} {
		if cfg.MinVersion != tls.VersionTLS13 || !cfg.SessionTicketsDisabled || cfg.VerifyConnection == nil || len(cfg.NextProtos) != 2 {
			t.Errorf("%+v", cfg)
		}
	}
	if cfg := ServerConfig(api, nil); cfg.ClientAuth != tls.RequireAnyClientCert {
		t.Errorf("client certificates: %v", cfg.ClientAuth)
	}
	old := ClientConfig(api, api.snap.ID)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if atServer, _, _ := shake(t, ServerConfig(api, AllowTrustDomain(w.td)), old); atServer == nil {
		t.Error("TLS 1.2 was accepted")
	}
}

// Both sides tell who was refused by whom, once for each handshake.
func TestOnRefusal(t *testing.T) {
	w := newWorld(t, time.Now())
	api, web := w.snapshot(t, "api"), w.snapshot(t, "web")
	var heard []*Refusal
	server := ServerConfig(fixed{api, nil}, AllowPolicy(fixed{api, nil}), OnRefusal(func(r *Refusal) { heard = append(heard, r) }))
	atServer, _, _ := shake(t, server, ClientConfig(fixed{web, nil}, api.ID))
	if len(heard) != 1 || heard[0].Peer != web.ID || heard[0].Self != api.ID || heard[0].Cause != CausePolicyDenied || heard[0].Clock.IsZero() {
		t.Fatalf("heard %+v", heard)
	}
	if !errors.Is(atServer, heard[0]) || !strings.Contains(atServer.Error(), "not among the allowed callers") {
		t.Errorf("the handshake's error is %v", atServer)
	}
}

// Even where a caller turns tickets on, a resumed session is judged like a new one:
// revocation, root, policy, identity and expiry (invariant 25; Go CVE-2025-68121; go-spiffe 2.9).
func TestResumedSessionIsJudgedLikeANewOne(t *testing.T) {
	now := time.Now()
	w, other := newWorld(t, now), newWorld(t, now)
	change := func(f func(*Snapshot)) func(t *testing.T, api, web *rotating) {
		return func(_ *testing.T, api, _ *rotating) {
			next := *api.Load()
			f(&next)
			api.Store(&next)
		}
	}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, api, web *rotating)
		cause  Cause
		client bool // the client refuses
	}{
		{"unchanged", change(func(*Snapshot) {}), "", false},
		{"client revoked", func(t *testing.T, api, web *rotating) {
			next := *api.Load()
			next.Revocation = w.revocation(t, 2, web.Load().Certificate.Leaf)
			api.Store(&next)
		}, CauseRevoked, false},
		{"server revoked", func(t *testing.T, api, web *rotating) {
			next := *web.Load()
			next.Revocation = w.revocation(t, 2, api.Load().Certificate.Leaf)
			web.Store(&next)
		}, CauseRevoked, true},
		{"root changed", change(func(s *Snapshot) { s.Bundle = mustBundle(t, w.td, other.root) }), CauseUnknownAuthority, false},
		{"policy changed", change(func(s *Snapshot) { s.Policy, _ = NewPolicy(s.ID, nil) }), CausePolicyDenied, false},
		{"policy lost", change(func(s *Snapshot) { s.Policy = nil }), CausePolicyUnknown, false},
		{"revocation lost", change(func(s *Snapshot) { s.Revocation = nil }), CauseRevocationUnknown, false},
		{"list gone stale", change(func(s *Snapshot) {
			s.Revocation = mustRevocation(t, w.issuer.crl(2, nil, func(l *x509.RevocationList) { l.NextUpdate = now.Add(-time.Second) }))
		}), CauseRevocationStale, false},
		{"own certificate expired", change(func(s *Snapshot) {
			s.Certificate = w.issuer.leaf(s.ID.String(), func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })
		}), CauseOwnCertificate, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			api, web := newRotating(w.snapshot(t, "api", "spiffe://prod.test/web")), newRotating(w.snapshot(t, "web"))
			server := ServerConfig(api, AllowPolicy(api))
			client := ClientConfig(web, api.Load().ID)
			server.SessionTicketsDisabled, client.SessionTicketsDisabled = false, false
			server.SetSessionTicketKeys([][32]byte{{1}})
			client.ServerName, client.ClientSessionCache = "api", tls.NewLRUClientSessionCache(4)
			for range 2 {
				atServer, atClient, state := shake(t, server, client)
				if atServer != nil || atClient != nil {
					t.Fatalf("before the change: %v, %v", atServer, atClient)
				}
				if peer, ok := PeerFromConnectionState(&state); !ok || peer.ID != api.Load().ID {
					t.Errorf("the client sees %v", peer.ID)
				}
			}
			if _, _, state := shake(t, server, client); !state.DidResume {
				t.Fatal("the session was not resumed, so this test shows nothing")
			}
			var resumed atomic.Bool
			judge := server.VerifyConnection
			server.VerifyConnection = func(cs tls.ConnectionState) error {
				resumed.Store(cs.DidResume)
				return judge(cs)
			}
			test.change(t, api, web)
			atServer, atClient, state := shake(t, server, client)
			if test.cause == "" {
				if atServer != nil || atClient != nil || !state.DidResume {
					t.Errorf("resumed %v: %v, %v", state.DidResume, atServer, atClient)
				}
				return
			}
			refusedBy := atServer
			if test.client {
				refusedBy = atClient
			}
			if causeOf(t, refusedBy) != test.cause || !test.client && !resumed.Load() {
				t.Errorf("resumed %v: server %v, client %v", resumed.Load(), atServer, atClient)
			}
		})
	}
}

// With the configs as they are, no session is ever resumed.
func TestTicketsAreDisabled(t *testing.T) {
	w := newWorld(t, time.Now())
	api, web := fixed{w.snapshot(t, "api"), nil}, fixed{w.snapshot(t, "web"), nil}
	server, client := ServerConfig(api, AllowTrustDomain(w.td)), ClientConfig(web, api.snap.ID)
	client.ClientSessionCache, client.ServerName = tls.NewLRUClientSessionCache(4), "api"
	client.SessionTicketsDisabled = false
	for range 3 {
		if atServer, _, state := shake(t, server, client); state.DidResume || atServer != nil {
			t.Errorf("resumed %v, %v", state.DidResume, atServer)
		}
	}
}
