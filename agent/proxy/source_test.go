package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/handfast/handfast/certs"
)

// Pieces of every size around the buffers' sizes go through at once: none waits for a next one, none is lost.
func TestPiecesOfEverySizePass(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, backend(t, echo), nil)
	out := w.serveOutbound(t, nil, in.inboundAddr())
	conn := dialPlain(t, out.outboundAddr())
	for _, size := range []int{1, 511, 512, 513, smallRecord, smallRecord + 1, 16 << 10, 16<<10 + 512, bulkSize - 1, bulkSize, bulkSize + 1, 3*bulkSize + 7} {
		piece := make([]byte, size)
		for i := range piece {
			piece[i] = byte(rand.Uint32())
		}
		go conn.Write(piece)
		got := make([]byte, size)
		if n, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, piece) {
			t.Fatalf("%d bytes: %d came back, %v", size, n, err)
		}
	}
}

func TestManyBytesInBothDirections(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, backend(t, echo), nil)
	conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+rand.IntN(100_000))
			conn.Write(rest[:n])
			rest = rest[n:]
		}
		conn.CloseWrite()
	})
	got, err := io.ReadAll(conn)
	writing.Wait()
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(sent), err)
	}
}

// A reader that waits holds no buffer, and one that does not want to wait says so.
func TestLazyReader(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	far := dialPlain(t, listener.Addr().String())
	near, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	r := newLazyReader(near, bulkSize)
	r.patient, r.full = false, true
	if err := r.fill(); !errors.Is(err, errNothingNow) || r.buffer != nil {
		t.Fatalf("nothing has come: %v, buffer held: %v", err, r.buffer != nil)
	}
	r.patient = true
	io.WriteString(far, "abc")
	if err := r.fill(); err != nil || string(r.unread) != "abc" {
		t.Fatalf("%q, %v", r.unread, err)
	}
	r.took(2)
	if string(r.unread) != "c" || r.buffer == nil {
		t.Fatalf("%q is left", r.unread)
	}
	if r.took(1); r.buffer != nil {
		t.Error("an empty buffer is held")
	}
	far.Close()
	if err := r.fill(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if newLazyReader(struct{ net.Conn }{near}, bulkSize) != nil {
		t.Error("what is no socket has a descriptor")
	}
}

// countedConn counts what is written to it.
type countedConn struct {
	net.Conn
	writes int
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.writes++
	return c.Conn.Write(b)
}

// The records of a whole piece leave in one write, what TLS adds to them included: the end of each is not a
// packet of its own.
func TestPieceLeavesInOneWrite(t *testing.T) {
	w := newWorld(t)
	far, near := net.Pipe()
	counted := &countedConn{Conn: near}
	peer := tls.Client(far, certs.ClientConfig(w.webSrc, w.orders))
	received := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(peer, make([]byte, 4*bulkSize))
		received <- err
	}()
	secure := tls.Server(newRawConn(counted), certs.ServerConfig(w.ordersSrc, certs.AllowPolicy(w.ordersSrc)))
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	write := sinkOf(secure)
	before := counted.writes
	for range 4 { // the first with records that are still short
		if err := write(make([]byte, bulkSize)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	if got := counted.writes - before; got != 4 {
		t.Errorf("4 pieces were written in %d writes", got)
	}
}
