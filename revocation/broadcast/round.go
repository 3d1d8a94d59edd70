package broadcast

import (
	"context"
	"math/bits"
	"sync"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

// round is the state of one moment that statements are made from. All of a round's have its
// date, so that their order among each other does not matter.
type round struct {
	config  *Config
	metrics *metrics

	number     uint64 // from 1, rising
	at         time.Time
	from, to   uint64 // the statement for those who were told everything goes from here to there
	memory     memory
	versions   []feed.Version
	issuers    []string
	signer     *signer
	superseded chan struct{} // closed by the next round

	live *packet // from from to to

	mu      sync.Mutex
	packets map[uint64]*packet // guarded by mu: for those who were away, by From
}

// packet is a signed statement as it goes over the wire, shared by everybody who needs it.
type packet struct {
	signer *signer
	kind   kind
	to     uint64
	at     time.Time
	bytes  []byte // the signer's message, then the statement's

	done chan struct{} // closed when err and everything above are there
	err  error
}

// messages returns what a follower gets: with the signer's chain, unless it has that.
func (p *packet) messages(known *signer) []byte {
	if known == p.signer {
		return p.bytes[len(p.signer.message):]
	}
	return p.bytes
}

// sign makes the round's own statement.
func (r *round) sign() error {
	r.live = &packet{}
	return r.pack(r.live, feed.Statement{From: r.from, To: r.to, Entries: r.memory.after(r.from)})
}

// pack signs a statement into p.
func (r *round) pack(p *packet, s feed.Statement) error {
	s.TrustDomain, s.SignedAt, s.NextUpdate = r.config.TrustDomain, r.at, r.signer.nextUpdate(r.at, r.config.Validity)
	s.Versions, s.Issuers = r.versions, r.issuers
	signed, err := s.Sign(r.signer.key, r.signer.certificate, nil)
	if err != nil {
		return err
	}
	message := make([]byte, 0, len(r.signer.message)+len(signed)+8)
	message = append(message, r.signer.message...)
	p.signer, p.to, p.at, p.kind = r.signer, s.To, r.at, kindOf(&s)
	p.bytes = feed.AppendMessage(message, feed.StatementMessage, signed)
	r.metrics.statements.WithLabelValues(p.kind.String()).Inc()
	return nil
}

func kindOf(s *feed.Statement) kind {
	switch {
	case s.Snapshot != nil:
		return snapshot
	case len(s.Entries) > 0:
		return entries
	default:
		return heartbeat
	}
}

// reaches reports whether entries can lead from a position to here; else a snapshot has to.
func (r *round) reaches(position uint64) bool {
	return position <= r.to && (position >= r.memory.from || r.to-position <= uint64(r.config.catchUp))
}

// catchUp returns a statement that leads a follower from its position to here, which the round
// reaches. Those who stand between two powers of two of entries behind share one.
func (r *round) catchUp(ctx context.Context, log Log, position uint64) (*packet, error) {
	if position >= r.from {
		return r.live, nil
	}
	from, fromLog := r.begin(position)
	r.mu.Lock()
	p := r.packets[from]
	if p != nil {
		r.mu.Unlock()
		return p.wait(ctx)
	}
	p = &packet{done: make(chan struct{})}
	if r.packets == nil {
		r.packets = make(map[uint64]*packet)
	}
	r.packets[from] = p
	r.mu.Unlock()

	// It is for everybody, so nobody's hanging up may spoil it.
	reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	p.err = r.fill(reading, p, log, from, fromLog)
	if p.err != nil { // who comes next tries again
		r.mu.Lock()
		delete(r.packets, from)
		r.mu.Unlock()
	}
	close(p.done)
	return p, p.err
}

// begin returns where a statement for a position begins, and whether that lies before what is in memory.
func (r *round) begin(position uint64) (from uint64, fromLog bool) {
	if position >= r.memory.from {
		n := len(r.memory.after(position))
		if wide := roundUp(n); wide < len(r.memory.entries) {
			return r.memory.entries[len(r.memory.entries)-wide-1].Sequence, false
		}
		return r.memory.from, false
	}
	wide := uint64(roundUp(int(r.to - position))) // #nosec G115 -- at most catchUp, by reaches
	return r.to - min(wide, r.to), true
}

// roundUp returns the lowest power of two that is not below n.
func roundUp(n int) int {
	if n <= 1 {
		return n
	}
	return 1 << bits.Len(uint(n-1)) // #nosec G115 -- not negative
}

func (r *round) fill(ctx context.Context, p *packet, log Log, from uint64, fromLog bool) error {
	s := feed.Statement{From: from, To: r.to}
	if !fromLog {
		s.Entries = r.memory.after(from)
		return r.pack(p, s)
	}
	for at := from; at < r.to; {
		batch, err := readEntries(ctx, log, at, readBatch)
		if err != nil {
			r.metrics.errors.WithLabelValues("log").Inc()
			return err
		}
		for _, e := range batch.entries {
			if e.Sequence <= r.to {
				s.Entries = append(s.Entries, e)
			}
		}
		if batch.end {
			break
		}
		at = batch.last
	}
	return r.pack(p, s)
}

// wait returns p when it is made.
func (p *packet) wait(ctx context.Context) (*packet, error) {
	select {
	case <-p.done:
		return p, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
