package certs

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

// followed is what was said to the agent last.
func (a *fakeAgent) followed(t *testing.T) FollowRequest {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.told) == 0 {
		t.Fatal("nothing was said to the agent")
	}
	return a.told[len(a.told)-1]
}

// A program says that it enforces a snapshot after it does, and after OnLoad has returned; before its first one it
// says that it lets nobody in.
func TestSocketSourceSaysWhatItEnforces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		listener, agent := newPipeListener(), &fakeAgent{changed: make(chan struct{})}
		agent.set(t, w.fedSnapshot(t, 7))
		server := &http.Server{Handler: agent}
		go server.Serve(listener)
		defer server.Close()
		var busy atomic.Bool
		src := socketSource(listener.dial, []FollowOption{OnLoad(func(*Snapshot, error) {
			if busy.Load() {
				time.Sleep(5 * time.Second) // it ends its connections
			}
		})})
		defer src.Close()
		synctest.Wait()
		agent.mu.Lock()
		first := agent.told[0]
		agent.mu.Unlock()
		if first.Enforces != nil || first.Known != "" || first.WaitSeconds != 0 || first.Program == "" || first.PID == 0 {
			t.Errorf("first it said %+v", first)
		}
		snap, err := src.Current()
		if err != nil {
			t.Fatal(err)
		}
		said := agent.followed(t)
		if said.Enforces == nil || *said.Enforces != snap.Position() || said.Enforces.Sequence != 7 || said.Follower != first.Follower {
			t.Errorf("then it said %+v; want %+v", said.Enforces, snap.Position())
		}
		busy.Store(true)
		agent.set(t, w.fedSnapshot(t, 8))
		time.Sleep(5*time.Second - 1)
		if got := agent.followed(t).Enforces.Sequence; got != 7 {
			t.Errorf("it said %d while OnLoad's function was running", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := agent.followed(t).Enforces.Sequence; got != 8 {
			t.Errorf("at last it said %d; want 8", got)
		}
		// What cannot be read is not in force, and not said to be.
		busy.Store(false)
		agent.change(func() { agent.body = []byte("{}") })
		time.Sleep(3 * time.Second)
		if said := agent.followed(t); said.Enforces.Sequence != 8 || said.Known != "" {
			t.Errorf("after nonsense it said %+v", said)
		}
	})
}

// An agent from before FollowPath is followed too, and a newer one in its place is noticed.
func TestSocketSourceFollowsAnOlderAgent(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, agent *fakeAgent, _ func(), src *Follower) {
		agent.change(func() { agent.old = true })
		agent.set(t, w.snapshot(t, "api", "*"))
		if err := src.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, _ := src.Current()
		time.Sleep(10 * time.Minute)
		asked := agent.count()
		time.Sleep(10 * time.Minute)
		if n := agent.count() - asked; n < 15 || n > 25 {
			t.Errorf("asked %d times in 10 minutes of silence", n)
		}
		agent.set(t, w.snapshot(t, "api"))
		synctest.Wait()
		if next, err := src.Current(); err != nil || next == got {
			t.Errorf("a change did not arrive at once: %v", err)
		}
		agent.mu.Lock()
		before := len(agent.told)
		agent.mu.Unlock()
		agent.change(func() { agent.old, agent.status = false, http.StatusServiceUnavailable })
		time.Sleep(3 * time.Second)
		agent.mu.Lock()
		defer agent.mu.Unlock()
		if len(agent.told) == before {
			t.Error("the newer agent was not told anything")
		}
	})
}

// fedSnapshot is a snapshot with a feed that stands at sequence.
func (w *world) fedSnapshot(t *testing.T, sequence uint64) *Snapshot {
	t.Helper()
	now := time.Now()
	var view *feed.View
	view, err := view.Apply(&feed.Statement{
		TrustDomain: w.td.String(), To: sequence, SignedAt: now, NextUpdate: now.Add(20 * time.Minute),
		Snapshot: feed.NewSet(nil), Issuers: []string{"00"},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	snap := *w.snapshot(t, "api", "*")
	snap.Revocation = snap.Revocation.WithFeed(view, 0)
	return &snap
}

func TestPositionEndsWithTheFirstOfFeedAndCertificate(t *testing.T) {
	w := newWorld(t, time.Now())
	snap := w.fedSnapshot(t, 3)
	if got, want := snap.Position().Until, snap.Revocation.Feed().NextUpdate(); !got.Equal(want) {
		t.Errorf("until %v; want the feed's end %v", got, want)
	}
	short := *snap
	short.Revocation = snap.Revocation.WithFeed(snap.Revocation.Feed(), time.Minute)
	if got, want := short.Position().Until, snap.Revocation.Feed().SignedAt().Add(time.Minute); !got.Equal(want) {
		t.Errorf("until %v; want the end of the silence %v", got, want)
	}
	none := *snap
	none.Revocation = nil
	if got := none.Position(); !got.Until.Equal(snap.Certificate.Leaf.NotAfter) || got.Sequence != 0 || got.TrustDomain != w.td.String() {
		t.Errorf("without a feed: %+v", got)
	}
}

func TestDecodeFollowRequestRefuses(t *testing.T) {
	good := FollowRequest{Follower: strings.Repeat("0a", 16), Program: "api", PID: 1, WaitSeconds: 30, Enforces: &FollowPosition{TrustDomain: "test.example", Sequence: 1}}
	encode := func(change func(*FollowRequest)) string {
		r := good
		change(&r)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if _, err := DecodeFollowRequest([]byte(encode(func(*FollowRequest) {}))); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty":              "",
		"no follower":        encode(func(r *FollowRequest) { r.Follower = "" }),
		"upper case":         encode(func(r *FollowRequest) { r.Follower = strings.Repeat("0A", 16) }),
		"a short ID":         encode(func(r *FollowRequest) { r.Follower = r.Follower[2:] }),
		"control characters": encode(func(r *FollowRequest) { r.Program = "a\nb" }),
		"a long name":        encode(func(r *FollowRequest) { r.Program = strings.Repeat("a", 65) }),
		"a negative id":      encode(func(r *FollowRequest) { r.PID = -1 }),
		"a long ETag":        encode(func(r *FollowRequest) { r.Known = strings.Repeat("a", 129) }),
		"a negative wait":    encode(func(r *FollowRequest) { r.WaitSeconds = -1 }),
		"a long wait":        encode(func(r *FollowRequest) { r.WaitSeconds = 3601 }),
		"a long domain":      encode(func(r *FollowRequest) { r.Enforces = &FollowPosition{TrustDomain: strings.Repeat("a", 256)} }),
		"an unknown member":  `{"follower":"` + good.Follower + `","later":1}`,
		"something behind":   encode(func(*FollowRequest) {}) + "1",
		"over the size":      encode(func(*FollowRequest) {}) + strings.Repeat(" ", MaxFollowRequestSize),
	} {
		if r, err := DecodeFollowRequest([]byte(data)); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// FuzzDecodeFollowRequest: what is accepted is within its limits, and the same when it is written and read again.
func FuzzDecodeFollowRequest(f *testing.F) {
	f.Add([]byte(`{"follower":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","wait_seconds":30,"enforces":{"trust_domain":"a","sequence":1,"until":"2026-01-02T03:04:05Z"}}`))
	f.Add([]byte(`{"follower":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","program":"x","pid":1,"known":"\"1\"","wait_seconds":0,"enforces":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeFollowRequest(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			return // a time that JSON cannot write
		}
		if len(again) > MaxFollowRequestSize {
			return // escapes may grow
		}
		other, err := DecodeFollowRequest(again)
		if err != nil || other.Follower != r.Follower || other.Program != r.Program || other.Known != r.Known || (other.Enforces == nil) != (r.Enforces == nil) {
			t.Fatalf("%+v, then %+v, %v", r, other, err)
		}
	})
}
