package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/socketdir"
)

func TestHalfCloseAndLargeTransferThroughTwoProxies(t *testing.T) {
	w := newWorld(t)
	// The service answers only after the client's end has arrived, as `nc -N` users expect.
	in := w.serveInbound(t, backend(t, func(conn *net.TCPConn) {
		digest := sha256.New()
		io.Copy(digest, conn)
		conn.Write(digest.Sum(nil))
		conn.CloseWrite()
	}), nil)
	out := w.serveOutbound(t, nil, in.inboundAddr())
	conn := dialPlain(t, out.outboundAddr())
	payload := make([]byte, 8<<20)
	rand.Read(payload)
	if _, err := conn.Write(payload); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(payload); !bytes.Equal(got, want[:]) {
		t.Fatalf("digest of what arrived = %x; want %x", got, want)
	}
}

func TestServerHalfCloseLetsTheClientGoOn(t *testing.T) {
	w := newWorld(t)
	received := make(chan string, 1)
	in := w.serveInbound(t, backend(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "bye")
		conn.CloseWrite()
		rest, _ := io.ReadAll(conn)
		received <- string(rest)
	}), nil)
	out := w.serveOutbound(t, nil, in.inboundAddr())
	conn := dialPlain(t, out.outboundAddr())
	if got, err := io.ReadAll(conn); err != nil || string(got) != "bye" {
		t.Fatalf("read %q, %v; want bye and an orderly end", got, err)
	}
	io.WriteString(conn, "still here")
	conn.CloseWrite()
	if got := <-received; got != "still here" {
		t.Fatalf("the service received %q after its own end; want all", got)
	}
}

func TestBackPressure(t *testing.T) {
	w := newWorld(t)
	read := make(chan struct{})
	digest := make(chan [32]byte, 1)
	in := w.serveInbound(t, backend(t, func(conn *net.TCPConn) {
		<-read
		all, _ := io.ReadAll(conn)
		digest <- sha256.Sum256(all)
	}), nil)
	out := w.serveOutbound(t, nil, in.inboundAddr())
	conn := dialPlain(t, out.outboundAddr())
	payload := make([]byte, 64<<20)
	rand.Read(payload)
	var sent atomic.Int64
	written := make(chan error, 1)
	go func() {
		for rest := payload; len(rest) > 0; rest = rest[min(len(rest), 64<<10):] {
			if _, err := conn.Write(rest[:min(len(rest), 64<<10)]); err != nil {
				written <- err
				return
			}
			sent.Add(64 << 10)
		}
		written <- conn.CloseWrite()
	}()
	// Nobody reads, so the writer comes to a stop on the kernel's buffers: three sockets' worth.
	stalled := int64(-1)
	for stalled != sent.Load() {
		stalled = sent.Load()
		time.Sleep(100 * time.Millisecond)
	}
	if stalled == int64(len(payload)) {
		t.Fatal("everything was taken although nobody reads: it is buffered without a bound")
	}
	close(read)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if got, want := <-digest, sha256.Sum256(payload); got != want {
		t.Fatal("what arrived is not what was sent")
	}
}

func TestPeerThatDiesIsAResetNotAnEnd(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, backend(t, func(conn *net.TCPConn) {
		_, err := io.ReadAll(conn)
		if err == nil {
			t.Error("the service saw an orderly end of a stream that was cut")
		}
	}), nil)
	raw := dialPlain(t, in.inboundAddr())
	conn := tls.Client(raw, certs.ClientConfig(w.webSrc, w.orders))
	if _, err := io.WriteString(conn, "half of the"); err != nil {
		t.Fatal(err)
	}
	raw.CloseWrite() // FIN without close_notify: what the kernel of a killed peer sends
	waitEvent(t, in, "truncated")
}

func TestProxyProtocolCarriesThePeer(t *testing.T) {
	w := newWorld(t)
	type seen struct {
		source, cn string
		rest       string
	}
	got := make(chan seen, 1)
	target := backend(t, func(conn *net.TCPConn) {
		reader := bufio.NewReader(conn)
		header, err := proxyproto.Read(reader)
		if err != nil {
			t.Error(err)
			return
		}
		tlvs, err := header.TLVs()
		if err != nil || len(tlvs) != 1 {
			t.Errorf("TLVs = %v, %v", tlvs, err)
			return
		}
		sub, err := proxyproto.SplitTLVs(tlvs[0].Value[5:])
		if err != nil || len(sub) != 2 {
			t.Errorf("sub TLVs = %v, %v", sub, err)
			return
		}
		rest, _ := io.ReadAll(reader)
		got <- seen{header.SourceAddr.String(), string(sub[1].Value), string(rest)}
	})
	in := w.serveInbound(t, target, func(cfg *Config) { cfg.Inbound[0].ProxyProtocol = true })
	conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "data")
	conn.CloseWrite()
	want := seen{conn.LocalAddr().String(), w.web.String(), "data"}
	if g := <-got; g != want {
		t.Fatalf("the service saw %+v; want %+v", g, want)
	}
}

func TestUnixSocketsOnTheLocalSide(t *testing.T) {
	w := newWorld(t)
	dir := socketdir.New(t)
	target, local := filepath.Join(dir, "target"), filepath.Join(dir, "local")
	listener, err := net.Listen("unix", target)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			io.Copy(conn, conn)
			conn.Close()
		}
	}()
	in := w.serveInbound(t, "unix:"+target, nil)
	w.serveOutbound(t, func(cfg *Config) { cfg.Outbound[0].Listen = "unix:" + local }, in.inboundAddr())
	conn, err := net.Dial("unix", local)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if err := roundTrip(conn, "hello"); err != nil {
		t.Fatal(err)
	}
}

func TestMaxConnectionsWaitInTheQueue(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, backend(t, echo), func(cfg *Config) { cfg.Inbound[0].MaxConnections = 1 })
	first, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	second := dialPlain(t, in.inboundAddr())
	second.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if err := tls.Client(second, certs.ClientConfig(w.webSrc, w.orders)).Handshake(); err == nil {
		t.Fatal("a second connection was served although the limit is one")
	}
	second.Close()
	first.Close()
	third, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(third, "x"); err != nil {
		t.Fatal(err)
	}
}

func TestDrainFinishesWhatIsOpen(t *testing.T) {
	w := newWorld(t)
	p, polite, end := w.drains(t, time.Minute)
	done := end()
	if err := roundTrip(polite, "while draining"); err != nil {
		t.Fatalf("an open connection was cut at once: %v", err)
	}
	polite.CloseWrite()
	if err := ended(polite); !errors.Is(err, io.EOF) {
		t.Errorf("it ended with %v; want an orderly end", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := p.inbounds[0].listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the address is still bound after Serve: %v", err)
	}
}

func TestDrainCutsTheRest(t *testing.T) {
	w := newWorld(t)
	_, stubborn, end := w.drains(t, 50*time.Millisecond)
	if err := <-end(); err != nil {
		t.Fatal(err)
	}
	if err := ended(stubborn); errors.Is(err, io.EOF) {
		t.Error("it saw an orderly end of what was cut")
	}
}

// drains is a proxy with an open connection. What end returns tells of Serve's end.
func (w *world) drains(t *testing.T, timeout time.Duration) (p *Proxy, conn *tls.Conn, end func() <-chan error) {
	t.Helper()
	p, err := Listen(t.Context(), Config{
		Source: w.ordersSrc, DrainTimeout: timeout,
		Inbound: []Inbound{{Listen: "127.0.0.1:0", Target: backend(t, echo)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	if conn, err = w.dialTLS(t, p.inboundAddr(), w.webSrc); err != nil {
		t.Fatal(err)
	}
	if err := roundTrip(conn, "before"); err != nil {
		t.Fatal(err)
	}
	return p, conn, func() <-chan error { cancel(); return done }
}
