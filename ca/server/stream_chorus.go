package server

import (
	"context"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/server/sockets"
)

const (
	// greetings is how many connections may be without a hello.
	greetings = 1024
	// rounds is how often streams are looked after when the feed is silent, and rest how much later than
	// before they are at least: statements may come by the hundred.
	rounds = 10 * time.Second
	rest   = time.Second
)

// chorus tells all streams what is new: a few writers go from one to the next, once for each statement, and wait for
// none. What agents say a set of sockets hears. So a stream costs no goroutine.
type chorus struct {
	feed      Feed
	authority Authority
	basis     atomic.Pointer[basis] // that was learnt last
	began     time.Time
	ctx       context.Context // ends when the shutdown begins
	stop      context.CancelFunc
	sockets   sockets.Set

	mu       sync.Mutex
	streams  []*stream             // guarded by mu
	greeting map[net.Conn]struct{} // guarded by mu
	inside   int                   // connections that were entered and did not exit; guarded by mu
	empty    chan struct{}         // closed when inside is 0, once somebody waits for that; guarded by mu
}

func newChorus(feed Feed, authority Authority) *chorus {
	c := &chorus{feed: feed, authority: authority, began: time.Now(), greeting: make(map[net.Conn]struct{})}
	c.basis.Store(new(basis))
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// age is the time since the start.
func (c *chorus) age() time.Duration { return time.Since(c.began) }

// greet counts a connection that has not said its hello. A shutdown ends those.
func (c *chorus) greet(conn net.Conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return &api.Error{Code: api.CodeUnavailable, Message: "the CA is stopping", Hint: "connect again"}
	}
	if len(c.greeting) >= greetings {
		return &api.Error{Code: api.CodeRateLimited, Message: "too many agents connect at once", Hint: "connect again"}
	}
	c.greeting[conn] = struct{}{}
	return nil
}

func (c *chorus) greeted(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.greeting, conn)
}

func (c *chorus) join(st *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st.place = len(c.streams)
	c.streams = append(c.streams, st)
	c.feed.Attend(1)
}

func (c *chorus) leave(st *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.streams) - 1
	c.streams[st.place] = c.streams[last]
	c.streams[st.place].place = st.place
	c.streams[last] = nil
	c.streams = c.streams[:last]
	c.feed.Attend(-1)
}

func (c *chorus) present() []*stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.streams)
}

// enter counts a connection, from its handshake until exit.
func (c *chorus) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inside++
}

func (c *chorus) exit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inside--; c.inside == 0 && c.empty != nil {
		close(c.empty)
		c.empty = nil
	}
}

// wait waits until all connections have ended, or until ctx does. Call it once, after close.
func (c *chorus) wait(ctx context.Context) error {
	c.mu.Lock()
	if c.inside == 0 {
		c.mu.Unlock()
		return nil
	}
	empty := make(chan struct{})
	c.empty = empty
	c.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends connections without a hello; the fleet has ended the streams.
func (c *chorus) close() {
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.greeting {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// run tells and looks after the streams until close, and until its writers have ended.
func (c *chorus) run() {
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(c.watch)
	for c.ctx.Err() == nil {
		changed := c.feed.Changed()
		c.sing()
		select {
		case <-changed:
		case <-c.ctx.Done():
		}
	}
}

// sing tells every stream what is new, as far as it takes it.
func (c *chorus) sing() {
	r := &round{streams: c.present()}
	var working sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(r.streams)) {
		working.Go(r.work)
	}
	working.Wait()
}

// round is one way through all streams.
type round struct {
	streams []*stream
	next    atomic.Int64
}

// work is one writer. Those whose certificate has been revoked are told after everybody else.
func (r *round) work() {
	var late []*stream
	for {
		i := int(r.next.Add(1)) - 1
		if i >= len(r.streams) {
			break
		}
		if r.streams[i].news(true) {
			late = append(late, r.streams[i])
		}
	}
	for _, st := range late {
		st.news(false)
	}
}

// watch looks after every stream now and then until close.
func (c *chorus) watch() {
	tick := time.NewTimer(rounds)
	defer tick.Stop()
	for {
		changed := c.feed.Changed()
		now := c.learn()
		for _, st := range c.present() {
			if err := st.lives(now); err != nil {
				st.end(err)
			}
		}
		tick.Reset(rest)
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		tick.Reset(rounds - rest)
		select {
		case <-changed:
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
	}
}
