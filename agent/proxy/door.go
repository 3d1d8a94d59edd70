package proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstAcceptPause = 5 * time.Millisecond
	lastAcceptPause  = time.Second
)

// door accepts connections and hands each to a goroutine of its crew, as many at a time as its
// limit allows. It knows every open one, so that none outlives the process's wish.
type door struct {
	listener net.Listener
	address  string // as configured, for logs
	slots    chan struct{}
	handle   func(ctx context.Context, conn net.Conn, done func()) // calls done when the connection is at its end
	failed   func(error)                                           // an accept that failed and is tried again

	strangers *strangers
	crew      crew

	accepted atomic.Int64
	mu       sync.Mutex
	open     map[net.Conn]struct{}
	wg       sync.WaitGroup
}

func newDoor(listener net.Listener, address string, limit int) *door {
	return &door{
		listener: listener, address: address,
		slots: make(chan struct{}, limit), open: make(map[net.Conn]struct{}), strangers: newStrangers(), crew: newCrew(),
	}
}

// serve accepts until ctx ends, and returns when it accepts no more. What it accepted may
// still be open: see wait and cut.
func (d *door) serve(ctx context.Context, work context.Context) {
	stop := context.AfterFunc(ctx, func() { d.listener.Close() }) //nolint:errcheck // nothing is lost
	defer stop()
	pause := firstAcceptPause
	for {
		if !d.acquire(ctx) { // before Accept: who has to wait does so in the kernel's queue
			return
		}
		conn, err := d.listener.Accept()
		if err == nil {
			pause = firstAcceptPause
			d.start(work, conn)
			continue
		}
		<-d.slots
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		d.failed(err) // too many open files, for one: others may close theirs
		select {
		case <-time.After(pause):
			pause = min(2*pause, lastAcceptPause)
		case <-ctx.Done():
			return
		}
	}
}

func (d *door) start(work context.Context, conn net.Conn) {
	d.accepted.Add(1)
	d.mu.Lock()
	d.open[conn] = struct{}{}
	d.mu.Unlock()
	d.wg.Add(1)
	done := func() {
		conn.Close() //nolint:errcheck // closed already, or given up
		d.mu.Lock()
		delete(d.open, conn)
		d.mu.Unlock()
		<-d.slots
		d.wg.Done()
	}
	d.crew.do(work, func() { d.handle(work, conn, done) })
}

// wait returns when every connection has ended.
func (d *door) wait() { d.wg.Wait() }

// cut ends every connection at once.
func (d *door) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn := range d.open {
		abort(conn)
	}
}

func (d *door) openNow() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}
