package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// bulkSize is how much is read or written at once where there is much: four TLS records. It is
// also what a peer can make this process hold in each direction: a reader that does
// not read stops the other side's writer, through TCP's own window.
const bulkSize = 64 << 10

// recordRoom is what TLS adds to a bulkSize of plaintext: 22 octets for each record, of which the first on a connection
// are short. Without it the end of each joined write would be a packet of its own.
const recordRoom = 8 << 10

type bulk [bulkSize + recordRoom]byte

var bulks = sync.Pool{New: func() any { return new(bulk) }}

func takeBulk() *bulk { return bulks.Get().(*bulk) } //nolint:forcetypeassert // the pool holds nothing else

// errNothingNow is what a reader gets that does not want to wait. It is temporary, so crypto/tls goes on where
// it was at the next Read.
var errNothingNow net.Error = nothingNow{}

type nothingNow struct{}

func (nothingNow) Error() string   { return "nothing has come yet" }
func (nothingNow) Timeout() bool   { return false }
func (nothingNow) Temporary() bool { return true }

// lazyReader reads a socket without holding a buffer while it waits: the buffer is taken when
// bytes are there. It is for one goroutine at a time.
type lazyReader struct {
	raw     syscall.RawConn
	patient bool  // wait for bytes; otherwise errNothingNow
	buffer  *bulk // nil when nothing is in it
	unread  []byte
	most    int  // how much is read at once
	full    bool // the last read came to that: there may be more
	err     error
	try     func(fd uintptr) bool // r.attempt, made once
}

// newLazyReader reads at most so much at once. It returns nil for a connection that is not a socket of the system.
func newLazyReader(conn net.Conn, most int) *lazyReader {
	system, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return nil
	}
	r := &lazyReader{raw: raw, patient: true, most: most}
	r.try = r.attempt
	return r
}

// fill waits until unread has something, or fails. What is unread must be taken before the next fill.
func (r *lazyReader) fill() error {
	if !r.patient && !r.full {
		return errNothingNow
	}
	r.err = nil
	if err := r.raw.Read(r.try); err != nil {
		return err
	}
	return r.err
}

// attempt is called when the socket may have bytes. False: wait until it has.
func (r *lazyReader) attempt(fd uintptr) bool {
	buffer := takeBulk()
	n, err := readNow(int(fd), buffer[:r.most]) //nolint:gosec // a descriptor is an int
	if n > 0 {
		r.buffer, r.unread, r.full = buffer, buffer[:n], n == r.most
		return true
	}
	bulks.Put(buffer)
	r.full = false
	switch {
	case errors.Is(err, syscall.EAGAIN) && r.patient:
		return false
	case errors.Is(err, syscall.EAGAIN):
		r.err = errNothingNow
	case err != nil:
		r.err = os.NewSyscallError("read", err)
	default:
		r.err = io.EOF
	}
	return true
}

func readNow(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, b)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// took says that n bytes of unread are used. The buffer goes back when all are.
func (r *lazyReader) took(n int) {
	if r.unread = r.unread[n:]; len(r.unread) == 0 && r.buffer != nil {
		bulks.Put(r.buffer)
		r.buffer = nil
	}
}

// rawConn is the transport under a TLS connection. It reads much at once where there is much, can join what
// is written, and remembers whether the transport itself has ended.
type rawConn struct {
	net.Conn
	ended atomic.Bool
	reset atomic.Bool // by the other side
	lazy  *lazyReader // nil: read as Conn does

	mu     sync.Mutex
	joined *bulk // collects what is written; nil: it is written at once
	n      int   // how much of joined is filled
}

func newRawConn(conn net.Conn) *rawConn {
	return &rawConn{Conn: conn, lazy: newLazyReader(conn, len(bulk{}))}
}

func (c *rawConn) Read(b []byte) (int, error) {
	n, err := c.read(b)
	if errors.Is(err, io.EOF) {
		c.ended.Store(true)
	}
	return n, c.noteReset(err)
}

func (c *rawConn) noteReset(err error) error {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.reset.Store(true)
	}
	return err
}

// send writes to the socket.
func (c *rawConn) send(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.noteReset(err)
}

func (c *rawConn) read(b []byte) (int, error) {
	if c.lazy == nil {
		return c.Conn.Read(b)
	}
	if len(c.lazy.unread) == 0 {
		if err := c.lazy.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.lazy.unread)
	c.lazy.took(n)
	return n, nil
}

// hurry makes reads return errNothingNow instead of waiting. Without a lazy reader it reports false: reads wait.
func (c *rawConn) hurry(on bool) bool {
	if c.lazy == nil {
		return false
	}
	c.lazy.patient = !on
	return true
}

// Write writes b, or keeps it until flush if writes are being joined.
func (c *rawConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joined == nil {
		return c.send(b)
	}
	written := 0
	for len(b) > 0 {
		n := copy(c.joined[c.n:], b)
		c.n, b, written = c.n+n, b[n:], written+n
		if c.n == len(c.joined) {
			if _, err := c.send(c.joined[:]); err != nil {
				return written, err
			}
			c.n = 0
		}
	}
	return written, nil
}

// join has writes collected until flush.
func (c *rawConn) join() {
	c.mu.Lock()
	c.joined = takeBulk()
	c.mu.Unlock()
}

// flush writes what was joined, and ends joining.
func (c *rawConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	joined, n := c.joined, c.n
	c.joined, c.n = nil, 0
	defer bulks.Put(joined)
	_, err := c.send(joined[:n])
	return err
}

// SetLinger is the socket's; abort asks for it.
func (c *rawConn) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}
