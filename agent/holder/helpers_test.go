package holder

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/logtest"
)

// record is what happened.
type record struct {
	updates []Update
	causes  map[string]int // of refusals
	acked   uint64
	streams int
	polls   int
	left    int
}

// seen is what happened so far.
func (w *world) seen() record {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.record
	r.updates, r.causes = slices.Clone(r.updates), maps.Clone(r.causes)
	return r
}

// world is a CA with a feed, a holder that follows it, and whoever stands between them.
type world struct {
	*testpki.PKI
	t    *testing.T
	feed *testpki.Feed
	h    *Holder
	log  *logtest.Buffer

	mu sync.Mutex
	record
	patience time.Duration
	lagging  bool // nothing is acknowledged

	// What the one in between does; changed through do.
	meddle  func(stream, n int, m api.FeedMessage) ([]api.FeedMessage, error) // n counts the messages of a stream
	refused error                                                             // of every new stream
	down    error                                                             // of everything
}

func newWorld(t *testing.T) *world {
	pki := testpki.New(t, "test.example", time.Now)
	w := &world{PKI: pki, t: t, feed: pki.NewFeed(), log: &logtest.Buffer{}, record: record{causes: make(map[string]int)}, patience: time.Hour}
	w.h = New(w.config(nil))
	return w
}

func (w *world) config(view *feed.View) Config {
	snap := w.Snapshot(w.ID("web"), time.Hour)
	return Config{
		TrustDomain: w.TD.String(), View: view,
		Signer: func(chain []*x509.Certificate) (*x509.Certificate, error) {
			return certs.CheckFeedSigner(chain, snap, time.Now())
		},
		Publish: func(update Update) {
			w.mu.Lock()
			w.updates = append(w.updates, update)
			lagging := w.lagging
			w.mu.Unlock()
			if !lagging {
				w.h.Acknowledge(update.View.Sequence())
			}
		},
		Refused: func(cause string) { w.do(func() { w.causes[cause]++ }) },
		Patience: func() time.Duration {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.patience
		},
		Delay:  func(int, error) time.Duration { return time.Second },
		Failed: func(error, time.Duration) {},
		Now:    time.Now, Jitter: func() float64 { return 0.5 },
		Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	}
}

// run follows until the returned function is called.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.h.Run(ctx, w)
	}()
	return sync.OnceFunc(func() {
		cancel(nil)
		<-done
	})
}

func (w *world) do(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// after lets time pass and everything settle.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// refuses reports whether the holder's view refuses cert.
func (w *world) refuses(cert *x509.Certificate) bool {
	_, found := w.h.View().Find(w.IssuerID(), cert.SerialNumber.Bytes())
	return found
}

func (w *world) victim() *x509.Certificate {
	return w.Certificate(w.ID("victim"), time.Hour).Leaf
}

// stream is what the one in between lets through.
type stream struct {
	w       *world
	ctx     context.Context
	end     context.CancelFunc
	number  int
	since   uint64
	n       int
	started bool // introduced its signer
	spoken  bool
	waiting []api.FeedMessage
}

func (w *world) Stream(ctx context.Context, since uint64) (Stream, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streams++
	if w.down != nil {
		return nil, w.down
	}
	if w.refused != nil {
		return nil, w.refused
	}
	w.acked = max(w.acked, since)
	ctx, end := context.WithCancel(ctx)
	return &stream{w: w, ctx: ctx, end: end, number: w.streams, since: since}, nil
}

func (s *stream) Next() (api.FeedMessage, error) {
	for len(s.waiting) == 0 {
		message, err := s.fromCA()
		if err != nil {
			return api.FeedMessage{}, err
		}
		s.w.mu.Lock()
		meddle := s.w.meddle
		s.w.mu.Unlock()
		if meddle == nil {
			return message, nil
		}
		s.n++
		if s.waiting, err = meddle(s.number, s.n, message); err != nil {
			return api.FeedMessage{}, err
		}
	}
	next := s.waiting[0]
	s.waiting = s.waiting[1:]
	return next, nil
}

// fromCA is the CA's next message.
func (s *stream) fromCA() (api.FeedMessage, error) {
	if !s.started {
		s.started = true
		return s.w.feed.Chain(), nil
	}
	changed := s.w.feed.Changed()
	heartbeat := time.NewTimer(Heartbeat)
	defer heartbeat.Stop()
	if s.spoken && s.w.feed.Sequence() == s.since {
		select {
		case <-changed:
		case <-heartbeat.C:
		case <-s.ctx.Done():
			return api.FeedMessage{}, io.EOF
		}
	}
	if s.ctx.Err() != nil {
		return api.FeedMessage{}, io.EOF
	}
	s.spoken = true
	statement := s.w.feed.Statement(s.since)
	s.since = statement.To
	return s.w.feed.Message(statement), nil
}

func (s *stream) Ack(sequence uint64) error {
	s.w.do(func() { s.w.acked = sequence })
	return nil
}

func (s *stream) Leave(context.Context) error {
	s.w.do(func() { s.w.left++ })
	return nil
}

func (s *stream) Close() error {
	s.end()
	return nil
}

func (w *world) Poll(ctx context.Context, since uint64, wait time.Duration) ([]api.FeedMessage, error) {
	w.mu.Lock()
	w.polls++
	w.acked = max(w.acked, since)
	down := w.down
	w.mu.Unlock()
	if down != nil {
		return nil, down
	}
	changed := w.feed.Changed()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if w.feed.Sequence() == since {
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return []api.FeedMessage{w.feed.Chain(), w.feed.Message(w.feed.Statement(since))}, nil
}
