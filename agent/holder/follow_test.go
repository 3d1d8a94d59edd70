package holder

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
)

func TestNewsArrivesAtOnceAndIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.run()
		defer stop()
		synctest.Wait()
		if w.h.Mode() != ModeStream || w.h.View().Sequence() != 1 || !w.seen().updates[0].Snapshot || !w.seen().updates[0].News {
			t.Fatalf("mode %s, updates %+v", w.h.Mode(), w.seen().updates)
		}
		victim := w.victim()
		sequence := w.feed.Revoke(victim)
		synctest.Wait() // no time passes
		if !w.refuses(victim) || w.seen().acked != sequence {
			t.Fatalf("at %d, acknowledged %d; want %d", w.h.View().Sequence(), w.seen().acked, sequence)
		}
		if last := w.seen().updates[len(w.seen().updates)-1]; !last.News || len(last.Entries) != 1 {
			t.Errorf("update %+v", last)
		}
		// Heartbeats move the time and are no news.
		before := len(w.seen().updates)
		after(time.Minute)
		for _, update := range w.seen().updates[before:] {
			if update.News {
				t.Error("a heartbeat is news")
			}
		}
		if n := len(w.seen().updates) - before; n != 12 || time.Since(w.h.View().SignedAt()) > Heartbeat {
			t.Errorf("%d heartbeats in a minute, the last signed at %v", n, w.h.View().SignedAt())
		}
		w.feed.Add(victim, feed.Released)
		synctest.Wait()
		if w.refuses(victim) {
			t.Error("still refused after its release")
		}
		if w.seen().streams != 1 || len(w.seen().causes) > 0 {
			t.Errorf("%d streams, refused %v", w.seen().streams, w.seen().causes)
		}
	})
}

// A stream that says nothing, or nothing new, is given up in bounded time; after the second one in a row the CA
// is polled, where news arrives at once too, and the stream is tried again later.
func TestSilentStreamsLeadToPolling(t *testing.T) {
	var last *api.FeedMessage
	tests := map[string]func(stream, n int, m api.FeedMessage) ([]api.FeedMessage, error){
		"nothing at all": func(_, _ int, _ api.FeedMessage) ([]api.FeedMessage, error) { return nil, nil },
		"nothing after the first word": func(_, n int, m api.FeedMessage) ([]api.FeedMessage, error) {
			if n <= 2 { // chain and statement
				return []api.FeedMessage{m}, nil
			}
			return nil, nil
		},
		"the same heartbeat again and again": func(_, n int, m api.FeedMessage) ([]api.FeedMessage, error) {
			if n <= 2 {
				last = &m
			}
			return []api.FeedMessage{*last}, nil
		},
	}
	for name, meddle := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.meddle = meddle
				stop := w.run()
				defer stop()
				after(strikesMax*(silence+time.Second) + time.Second)
				if w.seen().streams != strikesMax || w.seen().polls == 0 {
					t.Fatalf("%d streams, %d polls", w.seen().streams, w.seen().polls)
				}
				after(pollPause)
				victim := w.victim()
				sequence := w.feed.Revoke(victim)
				after(2 * pollPause)
				if !w.refuses(victim) || w.seen().acked != sequence || w.h.Mode() != ModePoll {
					t.Errorf("polling: at %d, acknowledged %d; want %d", w.h.View().Sequence(), w.seen().acked, sequence)
				}
				for patience, want := range map[time.Duration]int{time.Hour: 3, 15 * time.Second: 12} {
					w.do(func() { w.patience = patience })
					after(30 * time.Second)
					before := w.seen().polls
					after(time.Minute)
					if n := w.seen().polls - before; n < want-1 || n > want+1 {
						t.Errorf("%d polls in a minute with a patience of %v", n, patience)
					}
				}
				w.do(func() { w.meddle = nil })
				after(streamAgain + streamAgain/4 + time.Minute)
				if w.h.Mode() != ModeStream || w.seen().streams != strikesMax+1 {
					t.Errorf("mode %s after %d streams", w.h.Mode(), w.seen().streams)
				}
			})
		})
	}
}

// Where streams are refused, the CA is polled; where nobody answers, the stream is what is tried again.
func TestWhenToPoll(t *testing.T) {
	tests := []struct {
		name  string
		set   func(w *world)
		polls bool
	}{
		{"streams are refused", func(w *world) { w.refused = &api.Error{Code: api.CodeNotFound, Status: 404} }, true},
		{"the protocol is not chosen", func(w *world) { w.refused = api.ErrNoStream }, true},
		{"handshakes are cut, questions are not", func(w *world) { w.refused = api.ErrNoHandshake }, true},
		{"the CA is away", func(w *world) { w.down = errors.New("connection refused") }, false},
		{"the CA is not ready", func(w *world) { w.refused = &api.Error{Code: api.CodeUnavailable, Status: 503} }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				tt.set(w)
				stop := w.run()
				defer stop()
				after(time.Minute)
				if (w.seen().polls > 0) != tt.polls {
					t.Errorf("%d polls", w.seen().polls)
				}
				w.do(func() { w.refused, w.down = nil, nil })
				after(20 * time.Minute)
				if w.h.Mode() != ModeStream || w.h.View() == nil {
					t.Errorf("mode %s afterwards", w.h.Mode())
				}
			})
		})
	}
}

// A balancer before a CA that is away takes connections and cuts them. That is no reason to poll for long afterwards.
func TestAwayBehindABalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for away := range 12 { // seconds: the CA comes back at any point
			w := newWorld(t)
			w.do(func() { w.down = api.ErrNoHandshake })
			stop := w.run()
			after(time.Duration(away) * time.Second)
			w.do(func() { w.down = nil })
			after(5 * time.Second)
			if w.h.Mode() != ModeStream {
				t.Errorf("away for %d s: mode %s after %d streams and %d polls", away, w.h.Mode(), w.seen().streams, w.seen().polls)
			}
			stop()
		}
	})
}

// kill -9 of the CA between the durable write and the push: what was revoked arrives by itself afterwards.
func TestResumesFromItsPositionAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.run()
		defer stop()
		after(time.Minute)
		w.do(func() {
			w.down = errors.New("connection refused")
			w.meddle = func(int, int, api.FeedMessage) ([]api.FeedMessage, error) { return nil, w.down }
		})
		victim := w.victim()
		w.feed.Revoke(victim)
		after(time.Minute)
		if w.refuses(victim) || w.h.Mode() != ModeNone {
			t.Fatalf("mode %s", w.h.Mode())
		}
		w.do(func() { w.down, w.meddle = nil, nil })
		after(2 * time.Second)
		if !w.refuses(victim) {
			t.Error("it did not arrive")
		}
		for _, update := range w.seen().updates[1:] {
			if update.Snapshot {
				t.Error("it was not resumed from the position")
			}
		}
	})
}

// A holder that was away for longer than the CA remembers gets a snapshot; it keeps nothing that was released.
func TestAwayForLongerThanTheCARemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.run()
		released, victim := w.victim(), w.victim()
		w.feed.Add(released, feed.Held)
		synctest.Wait()
		stop()
		state, err := w.h.View().MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		w.feed.Add(released, feed.Released)
		w.feed.Revoke(victim)
		w.feed.Forget()
		time.Sleep(20 * time.Hour)
		view, err := feed.ParseView(state)
		if err != nil {
			t.Fatal(err)
		}
		w.do(func() { w.updates = nil })
		w.h = New(w.config(view))
		w.h.Acknowledge(view.Sequence())
		stop = w.run()
		defer stop()
		synctest.Wait()
		if len(w.seen().updates) != 1 || !w.seen().updates[0].Snapshot || !w.refuses(victim) || w.refuses(released) {
			t.Errorf("updates %+v, refused %v", w.seen().updates, w.seen().causes)
		}
	})
}

// A restart goes on where the process stood.
func TestRestartGoesOnFromTheSavedView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.run()
		victim, next := w.victim(), w.victim()
		w.feed.Revoke(victim)
		synctest.Wait()
		stop()
		state, err := w.h.View().MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		view, err := feed.ParseView(state)
		if err != nil {
			t.Fatal(err)
		}
		w.feed.Revoke(next)
		w.do(func() { w.updates = nil })
		w.h = New(w.config(view))
		if !w.refuses(victim) {
			t.Fatal("the view was lost")
		}
		w.h.Acknowledge(view.Sequence())
		stop = w.run()
		defer stop()
		synctest.Wait()
		if len(w.seen().updates) != 1 || len(w.seen().updates[0].Entries) != 1 || !w.refuses(victim) || !w.refuses(next) {
			t.Errorf("updates %+v", w.seen().updates)
		}
	})
}

// What is known but not enforced is not acknowledged: neither by an acknowledgement nor by the position that is named.
func TestOnlyWhatIsEnforcedIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config(nil)
		cfg.Publish = func(Update) {} // nobody enforces
		w.h = New(cfg)
		stop := w.run()
		defer stop()
		w.feed.Revoke(w.victim())
		after(time.Minute)
		w.do(func() {
			w.meddle = func(int, int, api.FeedMessage) ([]api.FeedMessage, error) { return nil, errors.New("reset") }
		})
		after(time.Minute)
		w.do(func() { w.meddle = nil })
		after(time.Minute)
		if w.seen().acked != 0 || w.h.View().Sequence() != 2 {
			t.Errorf("acknowledged %d at %d", w.seen().acked, w.h.View().Sequence())
		}
		w.h.Acknowledge(2)
		synctest.Wait()
		if w.seen().acked != 2 {
			t.Errorf("acknowledged %d; want 2", w.seen().acked)
		}
	})
}

func TestLeavesOnlyWhenItStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, cause := range []error{ErrReconnect, errors.New("the certificate has expired"), nil} {
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.h.Run(ctx, w)
			}()
			synctest.Wait()
			cancel(cause)
			<-done
		}
		if w.seen().left != 1 {
			t.Errorf("left %d times; want once", w.seen().left)
		}
	})
}

// The certificates that have expired since a snapshot stay in its set: a large one is replaced now and then.
func TestLargeOldSnapshotIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hashes := make([]uint64, renewFrom)
		for i := range hashes {
			hashes[i] = uint64(i) << 40
		}
		old := w.feed.Statement(0)
		old.Snapshot = feed.NewSet(hashes)
		old.NextUpdate = old.SignedAt.Add(30 * 24 * time.Hour)
		var none *feed.View
		view, err := none.Apply(old, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, age := range []time.Duration{renewAfter / 2, renewAfter} {
			time.Sleep(age)
			w.h = New(w.config(view))
			w.h.Acknowledge(view.Sequence())
			stop := w.run()
			synctest.Wait()
			stop()
			want := len(hashes)
			if age == renewAfter {
				want = 0
			}
			if got := w.h.View().Len(); got != want {
				t.Errorf("after %v it has %d certificates; want %d", age, got, want)
			}
		}
	})
}

func TestExceptionsAreBelievedWhenTheyAreNewEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		victim := w.victim()
		w.feed.Revoke(victim)
		stop := w.run()
		defer stop()
		synctest.Wait() // as part of a snapshot
		serial, at := victim.SerialNumber.Bytes(), w.h.View().Sequence()
		if w.h.Except(w.IssuerID(), serial, at-1) || !w.refuses(victim) {
			t.Error("an answer from before the snapshot was believed")
		}
		before := len(w.seen().updates)
		if !w.h.Except(w.IssuerID(), serial, at) || w.refuses(victim) || len(w.seen().updates) != before+1 {
			t.Error("a full check was not believed, or not published")
		}
		w.feed.Revoke(victim)
		synctest.Wait()
		if !w.refuses(victim) || w.h.Except(w.IssuerID(), serial, at+1) {
			t.Error("an exception goes before what the feed says later")
		}
	})
}

// While somebody here does not enforce yet what is known, the CA hears the old position, and the feed stays fresh all the same.
func TestWhoLagsDoesNotMakeTheFeedOld(t *testing.T) {
	for name, refused := range map[string]error{"stream": nil, "poll": api.ErrNoStream} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.refused, w.patience = refused, 15*time.Second
				stop := w.run()
				defer stop()
				after(30 * time.Second)
				w.do(func() { w.lagging = true })
				before := w.seen().acked
				sequence := w.feed.Revoke(w.victim())
				for range 180 {
					after(time.Second)
					if age := time.Since(w.h.View().SignedAt()); age > 15*time.Second {
						t.Fatalf("the view is %v old", age)
					}
				}
				if got := w.seen().acked; got != before {
					t.Errorf("acknowledged %d; want %d", got, before)
				}
				w.do(func() { w.lagging = false })
				w.h.Acknowledge(sequence)
				after(10 * time.Second)
				if got := w.seen().acked; got != sequence {
					t.Errorf("acknowledged %d at last; want %d", got, sequence)
				}
			})
		})
	}
}
