package holder

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
)

// meddler stands between the CA and the holder. It has seen everything that went by.
type meddler struct {
	w    *world
	seen []api.FeedMessage // statements
	held *api.FeedMessage
}

func (m *meddler) statement(from, to uint64) *feed.Statement {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &feed.Statement{
		TrustDomain: m.w.TD.String(), From: from, To: to, SignedAt: now, NextUpdate: now.Add(time.Hour),
		Issuers: []string{m.w.IssuerID()},
	}
}

// TestMeddlingIsRefused: whatever the one in between does is refused, counted and logged once with what to do, the
// connection is dropped, and as soon as the feed comes as it is, the holder stands where the CA does.
func TestMeddlingIsRefused(t *testing.T) {
	one := func(m api.FeedMessage) []api.FeedMessage { return []api.FeedMessage{m} }
	isStatement := func(message api.FeedMessage) bool { return message.Kind == feed.StatementMessage }
	tests := []struct {
		name, cause string
		act         func(m *meddler, message api.FeedMessage) ([]api.FeedMessage, error)
	}{
		{"a changed statement", CauseSignature, func(_ *meddler, message api.FeedMessage) ([]api.FeedMessage, error) {
			changed := bytes.Clone(message.Payload)
			changed[len(changed)/3] ^= 1
			return one(api.FeedMessage{Kind: message.Kind, Payload: changed}), nil
		}},
		{"a statement of an own CA", CauseSigner, func(m *meddler, _ api.FeedMessage) ([]api.FeedMessage, error) {
			other := testpki.New(m.w.t, "test.example", time.Now).NewFeed()
			return []api.FeedMessage{other.Chain(), other.Message(m.statement(1, 1))}, nil
		}},
		{"a statement of a service", CauseSigner, func(m *meddler, _ api.FeedMessage) ([]api.FeedMessage, error) {
			thief := m.w.NewFeed()
			thief.Certify(m.w.ID("victim"))
			return []api.FeedMessage{thief.Chain(), thief.Message(m.statement(1, 1))}, nil
		}},
		{"a signer that was never introduced", CauseSigner, func(m *meddler, _ api.FeedMessage) ([]api.FeedMessage, error) {
			return one(m.w.NewFeed().Message(m.statement(1, 1))), nil
		}},
		{"garbage for a signer", CauseMalformed, func(*meddler, api.FeedMessage) ([]api.FeedMessage, error) {
			return one(api.FeedMessage{Kind: feed.SignerMessage, Payload: []byte("garbage")}), nil
		}},
		{"garbage for a statement", CauseMalformed, func(*meddler, api.FeedMessage) ([]api.FeedMessage, error) {
			return one(api.FeedMessage{Kind: feed.StatementMessage, Payload: []byte("garbage")}), nil
		}},
		{"a statement from before", CauseReplayed, func(m *meddler, _ api.FeedMessage) ([]api.FeedMessage, error) {
			return one(m.seen[0]), nil
		}},
		{"statements in the wrong order", CauseGap, func(m *meddler, message api.FeedMessage) ([]api.FeedMessage, error) {
			if m.held == nil {
				m.held = &message
				return nil, nil
			}
			return []api.FeedMessage{message, *m.held}, nil
		}},
		{"a statement left out", CauseGap, func(m *meddler, message api.FeedMessage) ([]api.FeedMessage, error) {
			if m.held == nil {
				m.held = &message
				return nil, nil
			}
			return one(message), nil
		}},
		{"a stream that is cut in the middle", CauseTruncated, func(*meddler, api.FeedMessage) ([]api.FeedMessage, error) {
			return nil, io.ErrUnexpectedEOF
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				m := &meddler{w: w}
				stop := w.run()
				defer stop()
				w.do(func() {
					w.meddle = func(_, _ int, message api.FeedMessage) ([]api.FeedMessage, error) {
						w.do(func() { m.seen = append(m.seen, message) })
						return one(message), nil
					}
				})
				after(time.Minute)
				w.do(func() { m.seen = m.seen[:0] })
				after(time.Minute)
				w.do(func() {
					if w.h.Mode() != ModeStream || len(m.seen) < 10 {
						t.Errorf("mode %s after %d messages", w.h.Mode(), len(m.seen))
					}
				})
				streams := w.seen().streams
				w.do(func() {
					w.meddle = func(_, _ int, message api.FeedMessage) ([]api.FeedMessage, error) {
						if isStatement(message) {
							return tt.act(m, message)
						}
						return one(message), nil
					}
				})
				first, second := w.victim(), w.victim()
				w.feed.Revoke(first)
				synctest.Wait()
				w.feed.Revoke(second)
				after(3 * Heartbeat)
				w.do(func() { w.meddle = nil })
				if w.seen().causes[tt.cause] == 0 {
					t.Fatalf("refused %v; want %s", w.seen().causes, tt.cause)
				}
				if w.seen().streams == streams {
					t.Error("the connection was not dropped")
				}
				if n := strings.Count(w.log.String(), "why="+tt.cause); n != 1 {
					t.Errorf("logged %d times; want once:\n%s", n, w.log)
				}
				if !strings.Contains(w.log.String(), "advice=") {
					t.Error("the log does not say what to do")
				}
				after(2 * silence)
				if !w.refuses(first) || !w.refuses(second) || w.h.View().Sequence() != w.feed.Sequence() || w.seen().acked != w.feed.Sequence() {
					t.Errorf("stands at %d, acknowledged %d; the CA at %d\n%s", w.h.View().Sequence(), w.seen().acked, w.feed.Sequence(), w.log)
				}
			})
		})
	}
}

// A statement of another trust domain is refused although its signer is fine there.
func TestForeignTrustDomainIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := w.config(nil)
		cfg.TrustDomain = "other.example"
		w.h = New(cfg)
		stop := w.run()
		defer stop()
		after(time.Minute)
		if w.seen().causes[CauseDomain] == 0 || w.h.View() != nil {
			t.Errorf("refused %v", w.seen().causes)
		}
	})
}

// A CA that runs on an old copy of its ledger says with a fresh signature less than it once said.
func TestOlderLedgerIsRefusedAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.run()
		defer stop()
		victim := w.victim()
		w.feed.Revoke(victim)
		after(time.Minute)
		at := w.h.View().Sequence()
		after(time.Second) // between two heartbeats
		w.feed.Rewind(at - 1)
		after(time.Minute)
		if w.seen().causes[CauseRollback] == 0 || w.seen().causes[CauseReplayed] > 0 {
			t.Errorf("refused %v; want %s", w.seen().causes, CauseRollback)
		}
		if w.h.View().Sequence() != at || !w.refuses(victim) {
			t.Error("the holder went back with the CA")
		}
		if !strings.Contains(w.log.String(), "handfast-ca restore") {
			t.Errorf("the log does not say what to do:\n%s", w.log)
		}
		w.feed.Rewind(at + 1000) // as handfast-ca restore does
		next := w.victim()
		w.feed.Revoke(next)
		after(time.Minute)
		if !w.refuses(next) {
			t.Errorf("not followed again: refused %v", w.seen().causes)
		}
	})
}

// What is merely held back is accepted when it comes, and its age shows.
func TestDelayShowsInTheViewsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.run()
		defer stop()
		after(time.Minute)
		w.do(func() {
			w.meddle = func(_, _ int, message api.FeedMessage) ([]api.FeedMessage, error) {
				time.Sleep(10 * time.Second)
				return []api.FeedMessage{message}, nil
			}
		})
		victim := w.victim()
		w.feed.Revoke(victim)
		synctest.Wait()
		if w.refuses(victim) {
			t.Fatal("not delayed")
		}
		after(11 * time.Second)
		if !w.refuses(victim) {
			t.Error("what came late was not taken")
		}
		if age := time.Since(w.h.View().SignedAt()); age < 10*time.Second || age > 20*time.Second {
			t.Errorf("age %v", age)
		}
		if len(w.seen().causes) > 0 {
			t.Errorf("refused %v", w.seen().causes)
		}
	})
}
