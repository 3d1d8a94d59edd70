package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/internal/logging"
	"github.com/handfast/handfast/internal/logtest"
)

// stack is a running server on loopback.
type stack struct {
	*fakeCA
	t        testing.TB
	server   *Server
	api      string // https://127.0.0.1:PORT
	public   string
	connect  func(context.Context) (net.Conn, error) // to the API
	logs     *logtest.Buffer
	registry *prometheus.Registry
	stop     context.CancelFunc
	done     chan error
}

// newServer makes a Server over fakes without starting it.
func newServer(t testing.TB, modify func(*Config)) (*Server, *stack) {
	t.Helper()
	logs, registry := &logtest.Buffer{}, prometheus.NewRegistry()
	f := newFakeCA(t)
	logger, err := logging.New(logs, "debug", "text")
	if err != nil {
		t.Fatal(err)
	}
	agents, err := fleet.New(t.Context(), fleet.Config{Ledger: noAgents{}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Feed: newFakeFeed(7), Fleet: agents,
		CA: f, Tokens: fakeTokens{}, Revocations: fakeRevocations{},
		IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Name: "test", Version: "1",
		Logger:     logger,
		Registerer: registry, Gatherer: registry,
		Limits: patient(),
	}
	if modify != nil {
		modify(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.goodbye = time.Minute // no busy client comes too late for the last message
	return s, &stack{fakeCA: f, t: t, server: s, logs: logs, registry: registry}
}

func start(t testing.TB, modify func(*Config)) *stack {
	t.Helper()
	s, st := newServer(t, modify)
	l, err := Listen(t.Context(), Addresses{API: "127.0.0.1:0", Public: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	st.api, st.public = "https://"+l.API.Addr().String(), "http://"+l.Public.Addr().String()
	st.connect = func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.API.Addr().String())
	}
	st.stop, st.done = cancel, make(chan error, 1)
	go func() { st.done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-st.done:
		case <-time.After(2 * time.Minute):
			t.Error("the server did not stop")
		}
	})
	return st
}

// client speaks to the stack with the certificate of path, "" for none.
func (st *stack) client(path string) *api.Client {
	st.t.Helper()
	c, err := api.NewClient(st.api, st.tls(path))
	if err != nil {
		st.t.Fatal(err)
	}
	st.t.Cleanup(c.Close)
	return c
}

func (st *stack) tls(path string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(st.pki.root)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	if path != "" {
		config.Certificates = []tls.Certificate{st.pki.issue(st.t, path)}
	}
	return config
}

// metric sums the series of a counter or a gauge that have all of these label values.
func (st *stack) metric(name string, labels ...string) float64 {
	st.t.Helper()
	families, err := st.registry.Gather()
	if err != nil {
		st.t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != "handfast_server_"+name {
			continue
		}
		for _, series := range family.GetMetric() {
			missing := len(labels)
			for _, pair := range series.GetLabel() {
				if slices.Contains(labels, pair.GetValue()) {
					missing--
				}
			}
			if missing == 0 {
				sum += series.GetCounter().GetValue() + series.GetGauge().GetValue()
			}
		}
	}
	return sum
}
