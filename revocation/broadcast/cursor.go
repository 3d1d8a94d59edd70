package broadcast

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// patience is how long a new follower waits for the first statement after the start, and
// one that is ahead for this process to learn of what another one told it.
const patience = 2 * time.Second

// ErrAhead is about a follower that stands behind the log's end: it followed another log,
// or one that was restored from an older copy. A snapshot would take it back, which it refuses.
var ErrAhead = errors.New("the follower has seen more than the revocation log holds")

// Cursor is one follower's place in the feed. It is not safe for concurrent use, and costs
// nothing while nobody calls Next: it need not be closed.
type Cursor struct {
	b        *Broadcaster
	position uint64
	knows    bool    // the follower has a position: it had a snapshot
	seen     uint64  // the number of the last round that was told
	signer   *signer // whose chain was told
}

// Follow begins to follow after the position since, where the follower stands; 0 is one that
// knows nothing and gets a snapshot.
func (b *Broadcaster) Follow(since uint64) *Cursor {
	return &Cursor{b: b, position: since, knows: since > 0}
}

// Position returns where the follower stands after what Next returned.
func (c *Cursor) Position() uint64 { return c.position }

// Next returns messages (feed.AppendMessage) that take the follower on, one statement at
// least, to be written as they are and not to be changed: they are shared. The first call returns at once,
// later ones with the next news or heartbeat; what a slow follower missed comes in one
// statement. It fails when ctx ends, and for a new follower when no statement can be made: ErrAhead, or
// why the feed is silent. Nothing is returned that could be mistaken for fresh.
func (c *Cursor) Next(ctx context.Context) ([]byte, error) {
	r, err := c.round(ctx)
	if err != nil {
		return nil, err
	}
	var p *packet
	if c.knows && r.reaches(c.position) {
		p, err = r.catchUp(ctx, c.b.config.Log, c.position)
	} else {
		p, err = c.b.snapshot(ctx)
	}
	if err != nil {
		return nil, err
	}
	messages := p.messages(c.signer)
	c.signer, c.position, c.knows = p.signer, p.to, true
	if p.to >= r.to && !p.at.Before(r.at) { // an older snapshot is followed by what makes it fresh
		c.seen = r.number
	}
	c.b.metrics.deliveries[p.kind].Inc()
	return messages, nil
}

// Behind reports whether Next has something to say now, or does not wait for it any longer than it takes to
// make it.
func (c *Cursor) Behind() bool {
	if c.seen == 0 {
		return true
	}
	return c.b.current.Load().number > c.seen
}

// round returns the current round when it has something to tell, else the next one.
func (c *Cursor) round(ctx context.Context) (*round, error) {
	if c.seen == 0 {
		return c.first(ctx)
	}
	r := c.b.current.Load()
	if r.number > c.seen {
		return r, nil
	}
	c.b.waiting.Add(1)
	defer c.b.waiting.Add(-1)
	select {
	case <-r.superseded:
		return c.b.current.Load(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// first returns a round for who has been told nothing yet. What is no longer known to be fresh is
// not told to anybody new.
func (c *Cursor) first(ctx context.Context) (*round, error) {
	r := c.b.current.Load()
	if r == nil {
		if err := c.await(ctx, c.b.begun); err != nil {
			return nil, err
		}
		r = c.b.current.Load()
	}
	if failure := c.b.failure.Load(); failure != nil {
		return nil, fmt.Errorf("the feed is silent: %w", *failure)
	}
	if c.position > r.to {
		c.b.Notify()
		if err := c.await(ctx, r.superseded); err != nil && ctx.Err() != nil {
			return nil, err
		}
		if r = c.b.current.Load(); c.position > r.to {
			return nil, fmt.Errorf("%w: it stands at %d, the log ends at %d", ErrAhead, c.position, r.to)
		}
	}
	return r, nil
}

// await waits for something that is due within moments.
func (c *Cursor) await(ctx context.Context, event <-chan struct{}) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		if failure := c.b.failure.Load(); failure != nil {
			return fmt.Errorf("the feed is silent: %w", *failure)
		}
		return errors.New("the feed has not begun yet: is it running?")
	}
}
