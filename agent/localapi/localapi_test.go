package localapi

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/agent/followers"
	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/socketdir"
)

func serve(t *testing.T, cfg Config) func() {
	t.Helper()
	server, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestSocketSourceFollowsTheAgent(t *testing.T) {
	pki := testpki.New(t, "test.example", nil)
	source := testpki.NewSource(pki.Snapshot(pki.ID("web"), time.Hour, "*"))
	path := filepath.Join(socketdir.New(t), "agent.sock")
	stop := serve(t, Config{Source: source, Path: path})
	follower := certs.SocketSource(path, certs.PollEvery(10*time.Millisecond))
	defer follower.Close()
	for range 3 {
		want, _ := source.Current()
		deadline := time.Now().Add(time.Minute)
		for {
			got, err := follower.Current()
			if err == nil && got.Certificate.Leaf.Equal(want.Certificate.Leaf) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the follower does not follow: %v", err)
			}
			time.Sleep(time.Millisecond)
		}
		source.Set(pki.Snapshot(pki.ID("web"), time.Hour, "*"))
	}
	stop()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestSocketIsPrivateAndNeverTakenFromAnother(t *testing.T) {
	pki := testpki.New(t, "test.example", nil)
	source := testpki.NewSource(pki.Snapshot(pki.ID("web"), time.Hour))
	dir := socketdir.New(t)
	path := filepath.Join(dir, "agent.sock")
	// What a killed agent leaves: a socket that nobody answers on.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	serve(t, Config{Source: source, Path: path})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if _, err := Listen(t.Context(), Config{Source: source, Path: path}); err == nil || !strings.Contains(err.Error(), "another program listens") {
		t.Errorf("a second agent on the socket: %v", err)
	}
	regular := filepath.Join(dir, "file")
	os.WriteFile(regular, []byte("precious"), 0o600)
	if _, err := Listen(t.Context(), Config{Source: source, Path: regular}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a regular file in the socket's place: %v", err)
	}
	if data, _ := os.ReadFile(regular); string(data) != "precious" {
		t.Error("the file was touched")
	}
	gid := os.Getgid()
	grouped := filepath.Join(dir, "grouped.sock")
	serve(t, Config{Source: source, Path: grouped, Group: &gid})
	if info, err := os.Stat(grouped); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v; want 0660", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".handfast-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pki := testpki.New(t, "test.example", time.Now)
		source := testpki.NewSource(pki.Snapshot(pki.ID("web"), time.Hour))
		handler := newServer(Config{Source: source, Followers: followers.New(time.Now, func() {})}, nil).Handler()
		get := func(etag, prefer string) *httptest.ResponseRecorder {
			request := httptest.NewRequest(http.MethodGet, certs.SnapshotPath, nil)
			request.Header.Set("If-None-Match", etag)
			request.Header.Set("Prefer", prefer)
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request)
			return recorder
		}
		first := get("", "wait=30")
		etag := first.Header().Get("ETag")
		if first.Code != http.StatusOK || etag == "" {
			t.Fatalf("status %d, ETag %q", first.Code, etag)
		}
		begin := time.Now()
		if got := get(etag, ""); got.Code != http.StatusNotModified || time.Since(begin) != 0 {
			t.Errorf("without a wish to wait: %d after %v", got.Code, time.Since(begin))
		}
		if got := get(etag, "respond-async, wait=30"); got.Code != http.StatusNotModified || time.Since(begin) != 30*time.Second {
			t.Errorf("nothing new: %d after %v; want 304 after 30s", got.Code, time.Since(begin))
		}
		begin = time.Now()
		if get(etag, "wait=60000"); time.Since(begin) != maxWait {
			t.Errorf("waited %v; want at most %v", time.Since(begin), maxWait)
		}
		begin = time.Now()
		time.AfterFunc(7*time.Second, func() { source.Set(pki.Snapshot(pki.ID("web"), time.Hour)) })
		if got := get(etag, "wait=30"); got.Code != http.StatusOK || time.Since(begin) != 7*time.Second || got.Header().Get("ETag") == etag {
			t.Errorf("a change: %d after %v; want 200 after 7s", got.Code, time.Since(begin))
		}
		for _, prefer := range []string{"wait=-1", "wait=x", "wait=", "wait"} {
			begin = time.Now()
			if get(get("", "").Header().Get("ETag"), prefer); time.Since(begin) != 0 {
				t.Errorf("%q made it wait %v", prefer, time.Since(begin))
			}
		}
		source.Set(nil)
		if got := get("", ""); got.Code != http.StatusServiceUnavailable {
			t.Errorf("not enrolled: %d; want 503", got.Code)
		}
	})
}

func TestOnlyTheSnapshotIsServed(t *testing.T) {
	handler := newServer(Config{Source: testpki.NewSource(nil), Followers: followers.New(time.Now, func() {})}, nil).Handler()
	for _, request := range []*http.Request{
		httptest.NewRequest(http.MethodPost, certs.SnapshotPath, nil),
		httptest.NewRequest(http.MethodGet, "/", nil),
		httptest.NewRequest(http.MethodGet, certs.SnapshotPath+"/x", nil),
		httptest.NewRequest(http.MethodGet, certs.FollowPath, nil),
	} {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusNotFound && recorder.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", request.Method, request.URL.Path, recorder.Code)
		}
	}
}
