package broadcast

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/revocation"
)

// silent fails unless neither a follower that waits nor a new one gets anything for a minute.
func silent(t *testing.T, w *world, waiting *Cursor, why string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if messages, err := waiting.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a waiting follower got %d octets, %v", len(messages), err)
	}
	for _, since := range []uint64{0, 1} {
		if messages, err := w.Follow(since).Next(t.Context()); err == nil || !strings.Contains(err.Error(), why) {
			t.Fatalf("a new follower got %d octets, %v, not %q", len(messages), err, why)
		}
	}
}

// Whatever is uncertain is silence, and over when its cause is.
func TestFailsClosed(t *testing.T) {
	broken := errors.New("the disk is away")
	for name, c := range map[string]struct {
		harm, mend func(*testing.T, *world)
		why        string
	}{
		"log": {
			func(_ *testing.T, w *world) { w.breakWith(broken) },
			func(_ *testing.T, w *world) { w.breakWith(nil) },
			"the disk is away",
		},
		"no signer": {
			func(_ *testing.T, w *world) { w.SetSigner(nil, nil) },
			func(_ *testing.T, w *world) { w.SetSigner(w.key, w.chain) },
			"nobody may sign",
		},
		"signer with another key": {
			func(t *testing.T, w *world) {
				other, _ := newTestSigner(t, time.Now().Add(time.Hour))
				w.SetSigner(other, w.chain)
			},
			func(_ *testing.T, w *world) { w.SetSigner(w.key, w.chain) },
			"nobody may sign",
		},
		"signer without a certificate": {
			func(_ *testing.T, w *world) { w.SetSigner(w.key, nil) },
			func(_ *testing.T, w *world) { w.SetSigner(w.key, w.chain) },
			"nobody may sign",
		},
		"signer expired": {
			func(t *testing.T, w *world) {
				w.SetSigner(newTestSigner(t, time.Now().Add(time.Second).Truncate(time.Second)))
				time.Sleep(2 * time.Second)
			},
			func(_ *testing.T, w *world) { w.SetSigner(w.key, w.chain) },
			"the feed's signer is valid from",
		},
		"clock": {
			func(_ *testing.T, w *world) { w.back.Store(int64(5 * time.Minute)) },
			func(_ *testing.T, w *world) { w.back.Store(0) },
			"went back",
		},
		"entry of an unknown kind": {
			func(_ *testing.T, w *world) { w.append(9, issuerA, 1) },
			func(_ *testing.T, w *world) {
				w.mu.Lock()
				for i := range w.entries {
					if w.entries[i].Kind == 9 {
						w.entries[i].Kind = revocation.Held
					}
				}
				w.mu.Unlock()
			},
			"run that version",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, h := newWorld(t, nil), newHolder()
				w.revoke(0)
				cursor := w.Follow(0)
				h.follow(t, cursor)
				time.Sleep(time.Second)
				synctest.Wait()
				c.harm(t, w)
				w.revoke(5)
				synctest.Wait()
				for cursor.seen < w.current.Load().number { // what was signed before the harm
					if _, err := cursor.Next(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				silent(t, w, cursor, c.why)
				c.mend(t, w)
				began := time.Now()
				h.follow(t, cursor)
				if err := h.differs(w.ledger); err != nil || time.Since(began) > retry {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		})
	}
}

// Before the CA has made a signer a new follower waits a moment, because agents come back as soon as the CA listens.
func TestTheFirstFollowersWaitForTheSigner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.stop()
		b, err := New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.Run(ctx) //nolint:errcheck // it returns nil
		if _, err := b.Follow(1).Next(ctx); err == nil || !strings.Contains(err.Error(), "nobody may sign") {
			t.Errorf("%v", err)
		}
		go func() { time.Sleep(time.Second); b.SetSigner(w.key, w.chain) }()
		began := time.Now()
		if _, err := b.Follow(0).Next(ctx); err != nil || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if b.Sequence() != 0 {
			t.Errorf("an empty log has the position %d", b.Sequence())
		}
	})
}

// The date of statements never goes back: a clock that does by a little is waited for.
func TestDatesNeverGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t, nil), newHolder()
		cursor := w.Follow(0)
		last := h.follow(t, cursor).SignedAt
		for n, back := range []time.Duration{time.Second, 0, 1900 * time.Millisecond, 300 * time.Millisecond} {
			w.back.Store(int64(back))
			w.revoke(n)
			s := h.follow(t, cursor)
			if s.SignedAt.Before(last) || len(s.Entries) != 1 {
				t.Errorf("%v back: signed at %v, after %v; %d entries", back, s.SignedAt, last, len(s.Entries))
			}
			last = s.SignedAt
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := newWorld(t, nil).config
		for name, harm := range map[string]func(*Config){
			"trust domain": func(c *Config) { c.TrustDomain = "" },
			"log":          func(c *Config) { c.Log = nil },
			"listing":      func(c *Config) { c.Listed = nil },
			"issuers":      func(c *Config) { c.Issuers = nil },
			"versions":     func(c *Config) { c.Versions = nil },
			"heartbeat":    func(c *Config) { c.Heartbeat = -1 },
			"validity":     func(c *Config) { c.Validity = c.Heartbeat },
			"recent":       func(c *Config) { c.Recent = maxCatchUp + 1 },
		} {
			config := good
			harm(&config)
			if _, err := New(config); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	})
}
