package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
)

const hour = time.Hour

// world is a trust domain with two services: web calls orders.
type world struct {
	*testpki.PKI
	web, orders       certs.ID
	webSrc, ordersSrc *testpki.Source
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{PKI: testpki.New(t, "test.example", nil)}
	w.web, w.orders = w.ID("web"), w.ID("orders")
	w.webSrc = testpki.NewSource(w.Snapshot(w.web, hour))
	w.ordersSrc = testpki.NewSource(w.Snapshot(w.orders, hour, w.web.String()))
	return w
}

// serve runs a proxy until the test ends.
func serve(t *testing.T, cfg Config) *Proxy {
	t.Helper()
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 100 * time.Millisecond
	}
	p, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.explanation = time.Minute // no news come too late on a busy machine
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return p
}

func (p *Proxy) inboundAddr() string  { return p.inbounds[0].listener.Addr().String() }
func (p *Proxy) outboundAddr() string { return p.outbounds[0].listener.Addr().String() }

func (w *world) serveInbound(t *testing.T, target string, change func(*Config)) *Proxy {
	t.Helper()
	cfg := Config{Source: w.ordersSrc, Inbound: []Inbound{{Listen: "127.0.0.1:0", Target: target}}}
	if change != nil {
		change(&cfg)
	}
	return serve(t, cfg)
}

func (w *world) serveOutbound(t *testing.T, change func(*Config), addresses ...string) *Proxy {
	t.Helper()
	cfg := Config{Source: w.webSrc, Outbound: []Outbound{{Listen: "127.0.0.1:0", Service: "orders", Addresses: addresses, Limits: Limits{ConnectTimeout: time.Minute}}}}
	if change != nil {
		change(&cfg)
	}
	return serve(t, cfg)
}

// backend is a local service that runs handle on each connection.
func backend(t *testing.T, handle func(*net.TCPConn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn.(*net.TCPConn))
			}()
		}
	}()
	return listener.Addr().String()
}

func echo(conn *net.TCPConn) {
	io.Copy(conn, conn)
	conn.CloseWrite()
}

// dialPlain connects and bounds every later operation.
func dialPlain(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn.(*net.TCPConn)
}

// dialTLS shakes hands with an inbound listener as src's identity.
func (w *world) dialTLS(t *testing.T, address string, src certs.Source, protocols ...string) (*tls.Conn, error) {
	t.Helper()
	raw := dialPlain(t, address)
	conn := tls.Client(raw, certs.ClientConfig(src, w.orders, certs.WithNextProtos(protocols...)))
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	return conn, nil
}

// roundTrip sends text and wants it back.
func roundTrip(conn net.Conn, text string) error {
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != text {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// waitEvent waits until the proxy has noted an event with this cause.
func waitEvent(t *testing.T, p *Proxy, cause string) Event {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		for _, event := range p.Status().Events {
			if event.Cause == cause {
				return event
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("no event with cause %q; events: %s", cause, describe(p.Status().Events))
	return Event{}
}

func describe(events []Event) string {
	var b strings.Builder
	for _, event := range events {
		b.WriteString("\n  " + event.What + ": " + event.Cause + ": " + event.Error)
	}
	return b.String()
}

// ended reports how a connection ends: io.EOF for an orderly end.
func ended(conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	if err == nil {
		return io.EOF
	}
	return err
}

// fate dials a plaintext listener and reports how that ends. A reset may come so early that dialling sees it.
func fate(t *testing.T, address string) error {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, time.Minute)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	return ended(conn)
}
