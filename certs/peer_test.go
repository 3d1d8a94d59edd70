package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// serve runs an HTTPS server with cfg and returns its address.
func serve(t *testing.T, handler http.Handler, cfg *tls.Config) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, TLSConfig: cfg, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(listener, "", "")
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return "https://" + listener.Addr().String()
}

func newClient(t *testing.T, src Source, peer ID) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: ClientConfig(src, peer), ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	peer, ok := PeerFromContext(r.Context())
	if !ok {
		http.Error(w, "nobody", http.StatusTeapot)
		return
	}
	_, _ = io.WriteString(w, peer.ID.String())
})

func TestHandlerTellsWhoCalls(t *testing.T) {
	w := newWorld(t, time.Now())
	api, web := fixed{w.snapshot(t, "api"), nil}, fixed{w.snapshot(t, "web"), nil}
	url := serve(t, Handler(whoami), ServerConfig(api, AllowTrustDomain(w.td)))
	if status, body := get(t, newClient(t, web, api.snap.ID), url); status != http.StatusOK || body != "spiffe://prod.test/web" {
		t.Errorf("%d %q", status, body)
	}
	plain := httptest.NewServer(Handler(whoami))
	defer plain.Close()
	if status, body := get(t, http.DefaultClient, plain.URL); status != http.StatusForbidden {
		t.Errorf("in plain text: %d %q", status, body)
	}
	if _, ok := PeerFromContext(context.Background()); ok {
		t.Error("a peer out of nowhere")
	}
}

// One HTTP/2 connection, never closed: a revocation and a change of policy show at the next request.
func TestEnforceJudgesEachRequest(t *testing.T) {
	w := newWorld(t, time.Now())
	api, web := newRotating(w.snapshot(t, "api", "*")), fixed{w.snapshot(t, "web"), nil}
	handshakes := 0
	server := ServerConfig(api, AllowPolicy(api))
	judge := server.VerifyConnection
	server.VerifyConnection = func(cs tls.ConnectionState) error { handshakes++; return judge(cs) }
	var causes []Cause
	url := serve(t, Enforce(api, AllowPolicy(api), whoami, OnRefusal(func(r *Refusal) { causes = append(causes, r.Cause) })), server)
	client := newClient(t, web, api.Load().ID)
	change := func(f func(*Snapshot)) {
		next := *api.Load()
		f(&next)
		api.Store(&next)
	}
	if status, body := get(t, client, url); status != http.StatusOK || body != "spiffe://prod.test/web" {
		t.Fatalf("%d %q", status, body)
	}
	before := *api.Load()
	change(func(s *Snapshot) { s.Policy, _ = NewPolicy(s.ID, nil) })
	if status, _ := get(t, client, url); status != http.StatusForbidden || handshakes != 1 {
		t.Errorf("after the policy changed: %d, %d handshakes", status, handshakes)
	}
	change(func(s *Snapshot) { *s = before; s.Revocation = w.revocation(t, 2, web.snap.Certificate.Leaf) })
	if status, body := get(t, client, url); status == http.StatusOK {
		t.Errorf("after the revocation: %q", body)
	}
	if len(causes) == 0 || causes[0] != CausePolicyDenied {
		t.Errorf("heard %v", causes)
	}
}

func TestEnforceRefusesPlainText(t *testing.T) {
	w := newWorld(t, time.Now())
	plain := httptest.NewServer(Enforce(fixed{w.snapshot(t, "api"), nil}, AllowTrustDomain(w.td), whoami))
	defer plain.Close()
	if status, body := get(t, http.DefaultClient, plain.URL); status != http.StatusForbidden {
		t.Errorf("%d %q", status, body)
	}
}

func TestPeerFromConnectionState(t *testing.T) {
	w := newWorld(t, time.Now())
	chain := chainOf(t, w.issuer.leaf("spiffe://prod.test/web"))
	for name, cs := range map[string]*tls.ConnectionState{
		"nil":            nil,
		"unfinished":     {PeerCertificates: chain},
		"no certificate": {HandshakeComplete: true},
		"no identity":    {HandshakeComplete: true, PeerCertificates: chain[1:]},
	} {
		if peer, ok := PeerFromConnectionState(cs); ok {
			t.Errorf("%s: %v", name, peer.ID)
		}
	}
	peer, ok := PeerFromConnectionState(&tls.ConnectionState{HandshakeComplete: true, PeerCertificates: chain})
	if !ok || peer.ID.String() != "spiffe://prod.test/web" || peer.Certificate != chain[0] {
		t.Errorf("%+v", peer)
	}
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b, time.Now())
	chain, trust := chainOf(b, w.issuer.leaf("spiffe://prod.test/web")), w.trust(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(chain, trust, x509.ExtKeyUsageClientAuth, w.now); err != nil {
			b.Fatal(err)
		}
	}
}
