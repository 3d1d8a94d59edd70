package holder

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
)

// Times of following. The CA says something at least every heartbeat.
const (
	Heartbeat   = 5 * time.Second
	silence     = 3 * Heartbeat    // a stream without a statement for so long is given up
	pollWait    = 25 * time.Second // how long the CA may keep a question, at most
	pollTimeout = 2 * time.Minute  // beyond that: a large snapshot over a slow line
	pollPause   = 200 * time.Millisecond
	streamAgain = 10 * time.Minute // how long is polled before the stream is tried again
	strikesMax  = 2                // silent streams in a row until polling begins
	settleTime  = 5 * time.Second  // how long is waited until what is known is enforced
	leaveTime   = time.Second      // for saying that this agent stops

	// What has expired stays in a view's set. A large one is replaced when its snapshot is so old.
	renewAfter = 7 * 24 * time.Hour
	renewFrom  = 10_000 // certificates
)

// Stream is the feed as it comes. *api.FeedStream is one.
type Stream interface {
	// Next waits for the next message. It is called by one goroutine at a time.
	Next() (api.FeedMessage, error)
	// Ack says that everything up to sequence is enforced here. It does not wait.
	Ack(sequence uint64) error
	// Leave says that this agent stops, and waits until the CA has ended the stream.
	Leave(ctx context.Context) error
	// Close ends the stream and a Next that waits.
	Close() error
}

// Connection reaches the feed of one CA. Methods are safe for concurrent use.
type Connection interface {
	// Stream follows the feed after since, which it acknowledges, until ctx ends; 0 begins with a snapshot.
	Stream(ctx context.Context, since uint64) (Stream, error)
	// Poll asks what came after since, which it acknowledges; the CA waits up to wait for news.
	Poll(ctx context.Context, since uint64, wait time.Duration) ([]api.FeedMessage, error)
}

// ErrReconnect is the cause to end Run's context with when it is run again at once: then the CA is not
// told that this agent stops.
var ErrReconnect = errors.New("the feed is followed over another connection")

// Update is an accepted statement.
type Update struct {
	View     *feed.View
	News     bool         // what is revoked has changed, and not only how fresh that is
	Entries  []feed.Entry // what came, unless it was a snapshot
	Snapshot bool         // everything came anew
}

// Config is what a Holder needs. Every function in it is called by one goroutine at a time.
type Config struct {
	// TrustDomain is the only one whose statements are taken.
	TrustDomain string
	// View is what was known when the process ended last; nil is nothing.
	View *feed.View
	// Signer returns the certificate of who signs with the chain (leaf first), or why it may not.
	Signer func(chain []*x509.Certificate) (*x509.Certificate, error)
	// Publish makes a view the rule. Its order is the feed's.
	Publish func(Update)
	// Refused counts a statement or stream that was refused, by a cause out of Causes.
	Refused func(cause string)
	// Delay is how long to wait after so many failures in a row, the last of them err.
	Delay func(failures int, err error) time.Duration
	// Patience is for how long a statement may be relied on: questions come often enough for that.
	Patience func() time.Duration
	// Failed is told why the CA's feed could not be had, and when it is tried again.
	Failed func(err error, retry time.Duration)

	Now    func() time.Time
	Jitter func() float64 // a number in [0,1)
	Logger *slog.Logger
}

// Holder follows the feed of one trust domain. Run it with one connection at a time; the other methods
// are safe for concurrent use.
type Holder struct {
	cfg     Config
	signers signers
	said    map[string]time.Time // when a cause was logged last; Run's

	strikes  int       // silent streams in a row; Run's
	doubts   int       // handshakes in a row that were cut; Run's
	failures int       // in a row; Run's
	streamAt time.Time // while it polls: when the stream is tried again; Run's

	applying sync.Mutex // held while the view changes, so that publications have its order
	view     atomic.Pointer[feed.View]
	mode     atomic.Pointer[string]

	mu    sync.Mutex
	acked uint64
	acks  chan struct{} // closed and replaced when acked rises
}

// New makes a Holder that stands where cfg.View does.
func New(cfg Config) *Holder {
	h := &Holder{cfg: cfg, said: make(map[string]time.Time), acks: make(chan struct{})}
	h.view.Store(cfg.View)
	h.setMode(ModeNone)
	return h
}

// The modes: how the feed comes.
const (
	ModeNone   = "none" // not at all, at present
	ModeStream = "stream"
	ModePoll   = "poll"
)

// Mode returns how the feed comes.
func (h *Holder) Mode() string { return *h.mode.Load() }

func (h *Holder) setMode(mode string) { h.mode.Store(&mode) }

// View returns what is known, nil when nothing is.
func (h *Holder) View() *feed.View { return h.view.Load() }

// position is the sequence number up to which everything is known.
func (h *Holder) position() uint64 {
	return h.view.Load().Sequence()
}

// Acknowledge tells the CA that everything up to sequence is enforced. It never goes back.
func (h *Holder) Acknowledge(sequence uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if sequence <= h.acked {
		return
	}
	h.acked = sequence
	close(h.acks)
	h.acks = make(chan struct{})
}

// Acknowledged returns up to where everything is enforced, and a channel that is closed when that rises.
func (h *Holder) Acknowledged() (uint64, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked, h.acks
}

// Except takes a certificate out of the view, which has it by a coincidence of digests, as a full check by a
// CA that stood at sequence has shown. It reports whether the view believes that.
func (h *Holder) Except(issuer string, serial []byte, sequence uint64) bool {
	h.applying.Lock()
	defer h.applying.Unlock()
	before := h.view.Load()
	view := before.Except(issuer, serial, sequence)
	if view == before {
		return false
	}
	h.view.Store(view)
	h.cfg.Publish(Update{View: view, News: true})
	return true
}
