package localapi

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handfast/handfast/agent/followers"
	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/socketdir"
)

const domain = "test.example"

// fed is a source whose snapshots have a feed.
type fed struct {
	*testpki.Source
	pki  *testpki.PKI
	feed *testpki.Feed
	view *feed.View
	base *certs.Snapshot
}

func newFed(t *testing.T) *fed {
	pki := testpki.New(t, domain, nil)
	f := &fed{pki: pki, feed: pki.NewFeed(), base: pki.Snapshot(pki.ID("web"), time.Hour, "*")}
	f.Source = testpki.NewSource(nil)
	f.publish(t)
	return f
}

// revoke publishes a snapshot with another revocation, and returns its position.
func (f *fed) revoke(t *testing.T) uint64 {
	f.feed.Revoke(f.pki.Certificate(f.pki.ID("victim"), time.Hour).Leaf)
	return f.publish(t)
}

func (f *fed) publish(t *testing.T) uint64 {
	t.Helper()
	view, err := f.view.Apply(f.feed.Statement(f.view.Sequence()), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f.view = view
	snap := *f.base
	snap.Revocation = snap.Revocation.WithFeed(view, 0)
	f.Set(&snap)
	return view.Sequence()
}

// watched is a registry whose rises can be waited for.
type watched struct {
	*followers.Registry
	moves chan struct{}
	ahead atomic.Int64 // the clock's
}

func watch() *watched {
	w := &watched{moves: make(chan struct{}, 1)}
	now := func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
	w.Registry = followers.New(now, func() {
		select {
		case w.moves <- struct{}{}:
		default:
		}
	})
	return w
}

// waitFor waits until all who follow enforce the feed up to want.
func (w *watched) waitFor(t *testing.T, want uint64) {
	t.Helper()
	deadline := time.After(time.Minute)
	for w.Enforced(domain) != want {
		select {
		case <-w.moves:
		case <-deadline:
			t.Fatalf("enforced %d after a minute; want %d", w.Enforced(domain), want)
		}
	}
}

// forget lets the time pass for which those who are gone are waited for.
func (w *watched) forget(t *testing.T) {
	t.Helper()
	w.ahead.Add(int64(followers.Grace))
	w.waitFor(t, math.MaxUint64)
}

// waitGone waits until the server has seen that nobody is connected.
func (w *watched) waitGone(t *testing.T) {
	t.Helper()
	deadline := time.After(time.Minute)
	for slices.ContainsFunc(w.List(domain, 0), func(s followers.Status) bool { return s.Connected }) {
		select {
		case <-w.moves:
		case <-deadline:
			t.Fatal("still connected after a minute")
		}
	}
}

// What the agent may tell the CA waits until the library has a snapshot in force, and for as long as it hangs.
func TestTheLibraryConfirmsWhatItEnforces(t *testing.T) {
	source, registry := newFed(t), watch()
	path := filepath.Join(socketdir.New(t), "agent.sock")
	serve(t, Config{Source: source, Followers: registry.Registry, Path: path})
	registry.forget(t) // nobody of a predecessor's comes back
	entered, leave := make(chan uint64, 8), make(chan struct{})
	src := certs.SocketSource(path, certs.OnLoad(func(snap *certs.Snapshot, _ error) {
		if sequence := snap.Revocation.Feed().Sequence(); sequence > 1 {
			entered <- sequence
			<-leave
		}
	}))
	registry.waitFor(t, 1)
	second := source.revoke(t)
	if got := <-entered; got != second {
		t.Fatalf("it loads %d; want %d", got, second)
	}
	third := source.revoke(t)
	if got := registry.Enforced(domain); got != 1 {
		t.Errorf("%d is said to be enforced while the program hangs", got)
	}
	if list := registry.List(domain, third); len(list) != 1 || !list[0].Lagging || list[0].Enforced != 1 || list[0].Program == "" || !list[0].Connected {
		t.Errorf("listed: %+v", list)
	}
	close(leave)
	registry.waitFor(t, third)
	if snap, err := src.Current(); err != nil || snap.Revocation.Feed().Sequence() != third {
		t.Errorf("%v", err)
	}
	src.Close()
	registry.waitGone(t)
	registry.forget(t)
	if list := registry.List(domain, third); len(list) != 0 {
		t.Errorf("one that is gone is listed: %+v", list)
	}
}

// oldProgram follows as the library did before followers said what they enforce.
type oldProgram struct {
	client *http.Client
	etag   string
}

func newOldProgram(t *testing.T, path string) *oldProgram {
	transport := &http.Transport{MaxIdleConns: 1, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &oldProgram{client: &http.Client{Transport: transport}}
}

// ask asks with the last answer's ETag, without waiting.
func (p *oldProgram) ask(t *testing.T) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://agent"+certs.SnapshotPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.etag != "" {
		request.Header.Set("If-None-Match", p.etag)
	}
	response, err := p.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := new(bytes.Buffer).ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	p.etag = response.Header.Get("ETag")
	return response.StatusCode
}

// A program with an older library says nothing, but it uses a snapshot before it asks for the next one: only that counts.
func TestAnOlderLibraryConfirmsByItsNextQuestion(t *testing.T) {
	source, registry := newFed(t), watch()
	path := filepath.Join(socketdir.New(t), "agent.sock")
	serve(t, Config{Source: source, Followers: registry.Registry, Path: path})
	registry.forget(t)
	old := newOldProgram(t, path)
	expect := func(what string, status int, want uint64) {
		t.Helper()
		if got := old.ask(t); got != status {
			t.Errorf("%s: status %d; want %d", what, got, status)
		}
		registry.waitFor(t, want)
	}
	expect("the first snapshot", http.StatusOK, 1)
	second := source.revoke(t)
	expect("the next one is sent", http.StatusOK, 1)
	expect("and confirmed by the question after it", http.StatusNotModified, second)
	source.revoke(t)
	old.etag = ""
	expect("a question without an ETag confirms nothing", http.StatusOK, second)
	if list := registry.List(domain, source.view.Sequence()); len(list) != 1 || !list[0].Old || !list[0].Lagging {
		t.Errorf("listed: %+v", list)
	}
	// It comes back over another connection, and what its ETag stood for is not known.
	old.client.CloseIdleConnections()
	registry.waitGone(t)
	registry.forget(t)
	source.revoke(t)
	old.etag = `"of another agent"`
	expect("an unknown ETag", http.StatusOK, 0)
	expect("and then a known one", http.StatusNotModified, source.view.Sequence())
}

func TestWhatIsNoQuestionIsRefused(t *testing.T) {
	registry := followers.New(time.Now, func() {})
	handler := newServer(Config{Source: newFed(t), Followers: registry, Logger: slog.New(slog.DiscardHandler)}, nil).Handler()
	post := func(body string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, certs.FollowPath, strings.NewReader(body)))
		return recorder
	}
	for _, body := range []string{"", "{}", "null", `{"follower":"x"}`, strings.Repeat(" ", certs.MaxFollowRequestSize+1)} {
		if got := post(body); got.Code != http.StatusBadRequest {
			t.Errorf("%.20q: %d; want 400", body, got.Code)
		}
	}
	question := func(i int) string { return fmt.Sprintf(`{"follower":"%032x","wait_seconds":0,"enforces":null}`, i) }
	for i := range followers.Max {
		if got := post(question(i)); got.Code != http.StatusOK {
			t.Fatalf("follower %d: %d", i, got.Code)
		}
	}
	if got := post(question(followers.Max)); got.Code != http.StatusServiceUnavailable || !strings.Contains(got.Body.String(), "too many") {
		t.Errorf("one more: %d %s", got.Code, got.Body)
	}
}

// Connections beyond the bound are closed at once; one that ends makes room.
func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("unix", filepath.Join(socketdir.New(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	listener := &bounded{Listener: inner, free: make(chan struct{}, 2)}
	accepted := make(chan net.Conn, 4)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("unix", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	dial()
	second := <-accepted
	refused := dial()
	if n, err := refused.Read(make([]byte, 1)); err == nil {
		t.Fatalf("the third one read %d bytes", n)
	}
	first.Close()
	first.Close() // counts once
	dial()
	third := <-accepted
	refused = dial()
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Fatal("a closed connection made room twice")
	}
	second.Close()
	third.Close()
}

// On one connection a program is sent what is new to it; over another one, or with an ETag that stands for something else, everything.
func TestAProgramIsSentWhatIsNewToIt(t *testing.T) {
	source := newFed(t)
	path := filepath.Join(socketdir.New(t), "agent.sock")
	serve(t, Config{Source: source, Path: path})
	program := newOldProgram(t, path)
	ask := func() (whole bool, size int) {
		t.Helper()
		body := fmt.Sprintf(`{"follower":"%032x","known":%q,"wait_seconds":0,"enforces":null}`, 1, program.etag)
		response, err := program.client.Post("http://agent"+certs.FollowPath, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer bytes.Buffer
		if _, err := answer.ReadFrom(response.Body); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", response.Status, err)
		}
		program.etag = response.Header.Get("ETag")
		return strings.Contains(answer.String(), `"key"`), answer.Len()
	}
	expect := func(what string, want bool) {
		t.Helper()
		if whole, size := ask(); whole != want || !want && size > 600 {
			t.Errorf("%s: whole %v, %d bytes", what, whole, size)
		}
	}
	expect("at first", true)
	source.revoke(t)
	expect("after a revocation", false)
	source.publish(t)
	expect("after a heartbeat", false)
	source.base = source.pki.Snapshot(source.pki.ID("web"), time.Hour)
	source.publish(t)
	expect("after a rotation", true)
	source.publish(t)
	program.etag = `"unknown"`
	expect("with another ETag", true)
	source.publish(t)
	program.client.CloseIdleConnections()
	expect("over another connection", true)
}
