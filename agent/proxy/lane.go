package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/agent/internal/httphead"
	"github.com/handfast/handfast/certs"
)

const (
	// laneBuffer holds a request with its body. What is larger goes to net/http.
	laneBuffer = 16 << 10
	// bodyPatience is how long a body may lag behind its head before net/http takes over: some clients
	// write the two apart. It takes over because a service may want to see the beginning before the end.
	bodyPatience = 5 * time.Millisecond
)

// The states of a lane.
const (
	laneBusy int32 = iota
	laneIdle
	laneClosed
)

// lane serves the plain requests of one HTTP/1.1 connection: those whose head package httphead reads and whose
// body is short. At the first other request it hands the connection to net/http for good. It is
// there for speed: net/http's server and client take about twice the time for the same.
type lane struct {
	web     *webServer
	client  *tls.Conn
	peer    certs.Peer
	state   atomic.Int32
	vigil   vigil
	request httphead.Request
	reply   httphead.Response

	first    [256]byte         // where a request begins; the rest stays in client until there is a buffer
	buffer   *[laneBuffer]byte // nil while idle
	buffered int               // how much of it is filled

	self     certs.ID // whom identity names as the one who was called
	identity []byte   // the fields that tell the local service who calls
}

var laneBuffers = sync.Pool{New: func() any { return new([laneBuffer]byte) }}

// errHandOver says that net/http must take the connection.
var errHandOver = errors.New("the request is not for the lane")

// errLaneEnded says that the connection is at its end.
var errLaneEnded = errors.New("the connection has ended")

func newLane(web *webServer, client *tls.Conn, peer certs.Peer) *lane {
	return &lane{web: web, client: client, peer: peer, vigil: vigil{client: client}}
}

// run serves until the connection is closed or has to be handed over; then it returns what was read
// of it already and true.
func (l *lane) run(ctx context.Context) (rest []byte, handOver bool) {
	defer l.giveBack()
	for {
		size, err := l.read()
		switch {
		case errors.Is(err, errHandOver):
			l.client.SetReadDeadline(time.Time{}) //nolint:errcheck // a closed connection fails elsewhere
			return append([]byte(nil), l.buffer[:l.buffered]...), true
		case err != nil:
			l.client.Close() //nolint:errcheck // it is at its end
			return nil, false
		}
		goOn := l.serve(ctx, l.buffer[size-int(l.request.Length):size])
		l.buffered = copy(l.buffer[:], l.buffer[size:l.buffered])
		early, gone := l.vigil.end()
		if !goOn || gone {
			l.client.Close() //nolint:errcheck // it is at its end
			return nil, false
		}
		l.buffered += copy(l.buffer[l.buffered:], early)
	}
}

// read takes one request with its body into the buffer and returns its size.
func (l *lane) read() (int, error) {
	if l.buffered == 0 {
		if err := l.wait(); err != nil {
			return 0, err
		}
	}
	var deadline time.Time // of the head, from its first byte
	for {
		head, err := l.request.Parse(l.buffer[:l.buffered])
		switch {
		case err == nil && l.request.Length <= int64(l.buffered-head):
			return head + int(l.request.Length), nil
		case err == nil && l.request.Length > int64(laneBuffer-head), errors.Is(err, httphead.ErrUnusual), l.buffered == laneBuffer:
			return 0, errHandOver
		case err == nil: // the body lags
			deadline = time.Now().Add(bodyPatience)
		case deadline.IsZero():
			deadline = time.Now().Add(readHeaderTimeout)
		}
		l.client.SetReadDeadline(deadline) //nolint:errcheck // a closed connection fails in Read
		n, readErr := l.client.Read(l.buffer[l.buffered:])
		l.buffered += n
		if n == 0 && err == nil && os.IsTimeout(readErr) {
			return 0, errHandOver
		}
		if n == 0 {
			return 0, errors.Join(errLaneEnded, readErr)
		}
	}
}

// wait waits for a request without holding a buffer.
func (l *lane) wait() error {
	l.giveBack()
	l.client.SetReadDeadline(time.Now().Add(l.web.in.spec.IdleTimeout)) //nolint:errcheck // a closed connection fails in Read
	l.state.Store(laneIdle)
	if l.web.draining.Load() {
		return errLaneEnded
	}
	n, err := l.client.Read(l.first[:])
	if !l.state.CompareAndSwap(laneIdle, laneBusy) || n == 0 {
		return errors.Join(errLaneEnded, err)
	}
	l.buffer = laneBuffers.Get().(*[laneBuffer]byte) //nolint:forcetypeassert // the pool holds nothing else
	l.buffered = copy(l.buffer[:], l.first[:n])
	return nil
}

// giveBack returns the buffer to those who are not idle.
func (l *lane) giveBack() {
	if l.buffer != nil {
		laneBuffers.Put(l.buffer)
		l.buffer = nil
	}
}

// drain ends the connection if it is idle. Otherwise it ends after the answer.
func (l *lane) drain() {
	if l.state.CompareAndSwap(laneIdle, laneClosed) {
		l.client.Close() //nolint:errcheck // nothing is under way on it
	}
}
