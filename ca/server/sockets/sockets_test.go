package sockets

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hears is an owner that reads what is there, and remembers it.
type hears struct {
	conn *Conn

	mu      sync.Mutex
	got     []byte
	err     error
	changed chan struct{} // replaced, and closed, at each change
	empty   int           // calls of Writable
}

func newHears(conn *Conn) *hears { return &hears{conn: conn, changed: make(chan struct{})} }

func (h *hears) Readable() {
	var octets [100]byte
	for {
		n, err := h.conn.Read(octets[:])
		h.change(func() { h.got = append(h.got, octets[:n]...) })
		if errors.Is(err, ErrNotYet) {
			return
		}
		if err != nil {
			h.change(func() { h.err = err })
			return
		}
	}
}

func (h *hears) Writable() { h.change(func() { h.empty++ }) }

func (h *hears) change(what func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	what()
	close(h.changed)
	h.changed = make(chan struct{})
}

// until waits for what the owner is told; the time is for a test that hangs only.
func (h *hears) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		h.mu.Lock()
		reached, changed := is(), h.changed
		h.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// pair are two ends of a TCP connection.
func pair(t testing.TB) (ours, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return accepted.(*net.TCPConn), dialled.(*net.TCPConn)
}

// bare hides that a connection has a descriptor.
type bare struct{ net.Conn }

// each runs a test over both engines.
func each(t *testing.T, test func(t *testing.T, take func(net.Conn) *hears)) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"descriptor": func(c net.Conn) net.Conn { return c },
		"pump":       func(c net.Conn) net.Conn { return bare{c} },
	} {
		t.Run(name, func(t *testing.T) {
			var set Set
			t.Cleanup(set.Close)
			test(t, func(plain net.Conn) *hears {
				h := newHears(New(wrap(plain)))
				if err := set.Take(h.conn, h); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { h.conn.Close() })
				return h
			})
		})
	}
}

func TestOctetsArriveWhateverTheirPieces(t *testing.T) {
	each(t, func(t *testing.T, take func(net.Conn) *hears) {
		ours, theirs := pair(t)
		want := []byte("before it was taken")
		theirs.Write(want)
		h := take(ours)
		h.until(t, "what was there", func() bool { return bytes.Equal(h.got, want) })
		for i := range 200 { // one at a time, and then more than is read at once
			want = append(want, byte(i))
			theirs.Write([]byte{byte(i)})
		}
		h.until(t, "single octets", func() bool { return bytes.Equal(h.got, want) })
		many := make([]byte, 1<<20)
		rand.Read(many)
		want = append(want, many...)
		theirs.Write(many)
		h.until(t, "many", func() bool { return len(h.got) >= len(want) })
		theirs.CloseWrite() // who says no more may listen on
		h.until(t, "the end", func() bool { return h.err != nil })
		if !bytes.Equal(h.got, want) || !errors.Is(h.err, io.EOF) {
			t.Errorf("%d octets and %v; want %d and EOF", len(h.got), h.err, len(want))
		}
		answer := []byte("still here")
		if n, err := h.conn.Write(answer); err != nil || n != len(answer) {
			t.Fatalf("wrote %d, %v", n, err)
		}
		got := make([]byte, len(answer))
		if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, answer) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// Octets and the end that come together are both told of.
func TestTheEndComesWithTheLastOctets(t *testing.T) {
	each(t, func(t *testing.T, take func(net.Conn) *hears) {
		for range 50 {
			ours, theirs := pair(t)
			h := take(ours)
			theirs.Write([]byte("last"))
			theirs.Close()
			h.until(t, "the end", func() bool { return errors.Is(h.err, io.EOF) })
			if string(h.got) != "last" {
				t.Fatalf("got %q", h.got)
			}
		}
	})
}

func TestWhoDoesNotReadHoldsNobodyUp(t *testing.T) {
	each(t, func(t *testing.T, take func(net.Conn) *hears) {
		ours, theirs := pair(t)
		h := take(ours)
		var want []byte
		for h.conn.Kept() < 1<<20 { // more than the system takes
			part := make([]byte, 64<<10)
			rand.Read(part)
			if n, err := h.conn.Write(part); n != len(part) || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
			want = append(want, part...)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("other octets arrived, or too few: %v", err)
		}
		h.until(t, "nothing is kept", func() bool { return h.empty > 0 && h.conn.Kept() == 0 })
	})
}

func TestResetShows(t *testing.T) {
	each(t, func(t *testing.T, take func(net.Conn) *hears) {
		ours, theirs := pair(t)
		h := take(ours)
		for h.conn.Kept() == 0 {
			h.conn.Write(make([]byte, 64<<10))
		}
		theirs.SetLinger(0)
		theirs.Close()
		h.until(t, "an end", func() bool { return h.err != nil })
		for err := error(nil); err == nil; { // a pump hears of it by its own write
			_, err = h.conn.Write([]byte("x"))
		}
	})
}

func TestClosedConnection(t *testing.T) {
	each(t, func(t *testing.T, take func(net.Conn) *hears) {
		ours, theirs := pair(t)
		h := take(ours)
		remote := theirs.LocalAddr().String()
		if h.conn.RemoteAddr().String() != remote || h.conn.LocalAddr() == nil || h.conn.SetDeadline(time.Now()) != nil ||
			h.conn.SetReadDeadline(time.Now()) != nil || h.conn.SetWriteDeadline(time.Now()) != nil {
			t.Error("addresses or deadlines")
		}
		if err := h.conn.Close(); err != nil {
			t.Error(err)
		}
		if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the peer reads %v", err)
		}
		if _, err := h.conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if _, err := h.conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
	})
}

// Before a Set has it, a connection is the one that it was made of.
func TestConnectionThatNobodyTook(t *testing.T) {
	ours, theirs := net.Pipe()
	conn := New(ours)
	go theirs.Write([]byte("hello"))
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" || conn.Kept() != 0 {
		t.Errorf("%q, %v", got, err)
	}
	for _, set := range []func(time.Time) error{conn.SetDeadline, conn.SetReadDeadline} {
		if err := set(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
	}
	conn.SetWriteDeadline(time.Unix(1, 0))
	if _, err := conn.Write(got); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	var closed Set
	closed.Close()
	tcp, _ := pair(t)
	conn = New(tcp)
	if err := closed.Take(conn, newHears(conn)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed Set: %v", err)
	}
	if _, err := conn.Write(got); err != nil {
		t.Errorf("after that: %v", err)
	}
	var set Set
	defer set.Close()
	if err := set.Take(conn, newHears(conn)); err != nil {
		t.Error(err)
	}
	if err := set.Take(conn, newHears(conn)); err == nil {
		t.Error("taken twice")
	}
	conn.Close()
}

// A pump's goroutines end with its connection, or this would deadlock.
func TestPumpEndsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		h := newHears(New(ours))
		var set Set
		if err := set.Take(h.conn, h); err != nil {
			t.Fatal(err)
		}
		theirs.Write([]byte("one"))
		h.conn.Write([]byte("two"))
		synctest.Wait()
		if h.conn.Kept() == 0 {
			t.Error("a pipe holds nothing, so what nobody reads is kept")
		}
		io.ReadFull(theirs, make([]byte, 3))
		synctest.Wait()
		if string(h.got) != "one" || h.empty != 1 || h.conn.Kept() != 0 {
			t.Errorf("%q, %d, %d", h.got, h.empty, h.conn.Kept())
		}
		h.conn.Write([]byte("to nobody"))
		h.conn.Close()
	})
}

// Many come and go at once; no descriptor stays, and none is used for another connection than its own.
func TestComingAndGoing(t *testing.T) {
	var set Set
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	before := descriptors(t) - 1 // without the listener, and with what the first use of the network opens for good
	var group sync.WaitGroup
	group.Go(func() {
		for {
			plain, err := l.Accept()
			if err != nil {
				return
			}
			e := &echoes{conn: New(plain)}
			if err := set.Take(e.conn, e); err != nil {
				t.Error(err)
				plain.Close()
			}
		}
	})
	var dialling sync.WaitGroup
	for worker := range 8 {
		dialling.Go(func() {
			for i := range 100 {
				conn, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				said := slices.Repeat([]byte{byte(worker), byte(i)}, 50)
				conn.Write(said)
				got := make([]byte, len(said))
				if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, said) {
					t.Errorf("%x, %v", got, err)
				}
				conn.(*net.TCPConn).CloseWrite()
				if n, err := conn.Read(got); !errors.Is(err, io.EOF) {
					t.Errorf("%d, %v after the end", n, err)
				}
				conn.Close()
			}
		})
	}
	dialling.Wait()
	l.Close()
	group.Wait()
	set.Close()
	set.Close() // a second time does nothing
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// echoes is an owner that says what it hears, and closes at the end.
type echoes struct{ conn *Conn }

func (e *echoes) Readable() {
	var octets [64]byte
	for {
		n, err := e.conn.Read(octets[:])
		if errors.Is(err, ErrNotYet) {
			return
		}
		if err != nil {
			e.conn.Close()
			return
		}
		e.conn.Write(octets[:n])
	}
}

func (*echoes) Writable() {}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("descriptors are counted on Linux only")
	}
	return len(list)
}
