package certs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener is a listener in memory, so that time can be virtual.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, errors.New("nobody listens")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fakeAgent serves a snapshot as the agent does: ETag, If-None-Match, long poll.
type fakeAgent struct {
	mu      sync.Mutex
	body    []byte
	version int
	changed chan struct{}
	status  int  // 0 is 200
	mute    bool // no ETag, no long poll
	old     bool // knows SnapshotPath only
	asked   int
	told    []FollowRequest
}

func (a *fakeAgent) set(t testing.TB, snap *Snapshot) {
	t.Helper()
	body, err := EncodeSnapshot(snap)
	if err != nil {
		t.Fatal(err)
	}
	a.change(func() { a.body, a.status = body, 0 })
}

func (a *fakeAgent) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	a.version++
	if a.changed != nil {
		close(a.changed)
	}
	a.changed = make(chan struct{})
}

func (a *fakeAgent) state() (body []byte, etag string, status int, changed chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.body, fmt.Sprintf(`"%d"`, a.version), a.status, a.changed
}

func (a *fakeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	known, waits := a.question(w, r)
	a.mu.Lock()
	a.asked++
	mute := a.mute
	a.mu.Unlock()
	if known == "?" {
		return
	}
	body, etag, status, changed := a.state()
	if !mute && known == etag && waits {
		select {
		case <-changed:
			body, etag, status, _ = a.state()
		case <-time.After(30 * time.Second):
			w.WriteHeader(http.StatusNotModified)
			return
		case <-r.Context().Done():
			return
		}
	}
	if status != 0 {
		w.Header().Set("Location", "http://elsewhere.test/")
		w.WriteHeader(status)
		return
	}
	if !mute {
		w.Header().Set("ETag", etag)
	}
	if r.Method == http.MethodPost {
		body = fmt.Appendf(nil, `{"snapshot":%s}`, body)
	}
	_, _ = w.Write(body)
}

// question returns what the follower knows and whether it waits; "?" when it was refused.
func (a *fakeAgent) question(w http.ResponseWriter, r *http.Request) (known string, waits bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Method == http.MethodGet && r.URL.Path == SnapshotPath {
		return r.Header.Get("If-None-Match"), r.Header.Get("Prefer") == "wait=30"
	}
	if a.old || r.Method != http.MethodPost || r.URL.Path != FollowPath {
		w.WriteHeader(http.StatusNotFound)
		return "?", false
	}
	data, err := io.ReadAll(r.Body)
	if err == nil {
		var request *FollowRequest
		if request, err = DecodeFollowRequest(data); err == nil {
			a.told = append(a.told, *request)
			return request.Known, request.WaitSeconds == 30
		}
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
	return "?", false
}

func (a *fakeAgent) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// inBubble runs an agent and a source that follows it, in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, w *world, agent *fakeAgent, stop func(), src *Follower)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := newPipeListener()
		agent := &fakeAgent{changed: make(chan struct{}), status: http.StatusServiceUnavailable}
		server := &http.Server{Handler: agent}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(listener)
		}()
		stop := func() {
			_ = server.Close()
			<-done
		}
		defer stop()
		src := socketSource(listener.dial, nil)
		defer src.Close()
		test(t, newWorld(t, time.Now()), agent, stop, src)
	})
}

func TestSocketSourceFollowsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, agent *fakeAgent, _ func(), src *Follower) {
		time.Sleep(5 * time.Second)
		if _, err := src.Current(); err == nil {
			t.Error("a snapshot before the agent had one")
		}
		if n := agent.count(); n < 5 || n > 12 {
			t.Errorf("asked %d times in 5 s: not backing off, or not trying", n)
		}
		first := w.snapshot(t, "api", "*")
		agent.set(t, first)
		if err := src.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := src.Current()
		if err != nil {
			t.Fatal(err)
		}
		sameSnapshot(t, "first", got, first)
		time.Sleep(10 * time.Minute) // many long polls without news
		asked := agent.count()
		time.Sleep(10 * time.Minute)
		if n := agent.count() - asked; n < 15 || n > 25 {
			t.Errorf("asked %d times in 10 minutes of silence", n)
		}
		agent.set(t, w.snapshot(t, "api"))
		synctest.Wait()
		if next, err := src.Current(); err != nil || next == got {
			t.Errorf("the change did not arrive at once: %v", err)
		}
	})
}

// While the agent is away or talks nonsense the last good snapshot is served, until it
// expires, and never after (invariant 22).
func TestSocketSourceLastGoodUntilExpiryNeverAfter(t *testing.T) {
	for name, spoil := range map[string]func(agent *fakeAgent, stop func()){
		"away":      func(_ *fakeAgent, stop func()) { stop() },
		"failing":   func(a *fakeAgent, _ func()) { a.change(func() { a.status = http.StatusInternalServerError }) },
		"redirects": func(a *fakeAgent, _ func()) { a.change(func() { a.status = http.StatusFound }) },
		"nonsense":  func(a *fakeAgent, _ func()) { a.change(func() { a.body = []byte("{}") }) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world, agent *fakeAgent, stop func(), src *Follower) {
				good := w.snapshot(t, "api", "*")
				agent.set(t, good)
				if err := src.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				spoil(agent, stop)
				time.Sleep(time.Until(good.Certificate.Leaf.NotAfter))
				if _, err := src.Current(); err != nil || src.Err() == nil {
					t.Errorf("before the expiry: %v, Err %v", err, src.Err())
				}
				time.Sleep(time.Second)
				if _, err := src.Current(); HandshakeRefusal(err) == nil || HandshakeRefusal(err).Cause != CauseOwnCertificate {
					t.Errorf("after the expiry: %v", err)
				}
				if name == "away" {
					return
				}
				agent.set(t, newWorld(t, time.Now()).snapshot(t, "api"))
				time.Sleep(2 * time.Second)
				if _, err := src.Current(); err != nil || src.Err() != nil {
					t.Errorf("mended: %v, Err %v", err, src.Err())
				}
			})
		})
	}
}

// An agent that does not hold requests is asked once a second, not in a busy loop.
func TestSocketSourceDoesNotSpin(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, agent *fakeAgent, _ func(), src *Follower) {
		agent.change(func() { agent.mute = true })
		agent.set(t, w.snapshot(t, "api", "*"))
		if err := src.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		asked := agent.count()
		time.Sleep(time.Minute)
		if n := agent.count() - asked; n < 55 || n > 65 {
			t.Errorf("asked %d times in a minute", n)
		}
	})
}

func TestSocketSourceOverAUnixSocket(t *testing.T) {
	base := os.TempDir()
	if len(base) > 50 { // a socket's path is short
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "hf")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, time.Now())
	agent := &fakeAgent{}
	want := w.snapshot(t, "api", "*")
	agent.set(t, want)
	server := &http.Server{Handler: agent, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	defer func() {
		_ = server.Close()
		<-done
	}()
	src := SocketSource(filepath.Join(dir, "s"))
	defer src.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := src.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := src.Current()
	if err != nil {
		t.Fatal(err)
	}
	sameSnapshot(t, "over the socket", got, want)
}
