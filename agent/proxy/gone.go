package proxy

import (
	"net"
	"os"
	"sync"
	"time"
)

// goneAfter is how long an answer may take before anybody looks whether the client still waits for it.
const goneAfter = 50 * time.Millisecond

// vigil notices that a client has gone while the local service works for it, and ends the connection
// to the service. It costs a goroutine only when the service takes long.
type vigil struct {
	client net.Conn
	timer  *time.Timer

	mu      sync.Mutex
	service net.Conn      // what to close; nil: nobody waits
	reading chan struct{} // closed when look has ended; nil: it does not run
	gone    bool
	early   []byte // what the client sent meanwhile: the beginning of its next request
}

// begin starts watching for one answer.
func (v *vigil) begin(service net.Conn) {
	v.mu.Lock()
	v.service = service
	v.mu.Unlock()
	if v.timer == nil {
		v.timer = time.AfterFunc(goneAfter, v.look)
		return
	}
	v.timer.Reset(goneAfter)
}

// look waits for the client to say something or to leave.
func (v *vigil) look() {
	v.mu.Lock()
	if v.service == nil || v.reading != nil || v.early != nil {
		v.mu.Unlock()
		return
	}
	ended := make(chan struct{})
	v.reading = ended
	v.client.SetReadDeadline(time.Time{}) //nolint:errcheck // a closed connection fails in Read
	v.mu.Unlock()
	defer close(ended)
	one := make([]byte, 1)
	n, err := v.client.Read(one)
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case n > 0:
		v.early = one
	case err != nil && !os.IsTimeout(err): // end makes it time out
		v.gone = true
		if v.service != nil {
			v.service.Close() //nolint:errcheck // nobody wants the answer
		}
	}
}

// left reports whether the client has gone.
func (v *vigil) left() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.gone
}

// end stops watching. It reports whether the client has gone, and returns what it sent.
func (v *vigil) end() (early []byte, gone bool) {
	if v.timer == nil { // the service was not reached
		return nil, false
	}
	v.timer.Stop()
	v.mu.Lock()
	v.service = nil
	reading := v.reading
	v.mu.Unlock()
	if reading == nil {
		return nil, false
	}
	v.client.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a closed connection ends the read as well
	<-reading
	v.client.SetReadDeadline(time.Time{}) //nolint:errcheck // likewise
	early, v.reading, v.early = v.early, nil, nil
	return early, v.gone
}
