package agent

import (
	"context"
	"fmt"
	"math"

	"github.com/handfast/handfast/agent/pace"
	"github.com/handfast/handfast/certs"
)

// Enforcer announces somebody who enforces what the agent publishes, such as a proxy. The function that it returns is
// to be called with a snapshot once everything that it forbids is refused, connections that were open included.
// What the CA is told to be enforced is what every enforcer has reported and every follower (Followers); without any, what
// was published. Call Enforcer before Run.
func (a *Agent) Enforcer() func(*certs.Snapshot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	who := len(a.enforcers)
	a.enforcers = append(a.enforcers, 0)
	return func(snap *certs.Snapshot) {
		if snap == nil || snap.Revocation.Feed() == nil {
			return
		}
		a.mu.Lock()
		if view := snap.Revocation.Feed(); view.TrustDomain() == a.feedOf {
			a.enforcers[who] = max(a.enforcers[who], view.Sequence())
		}
		a.mu.Unlock()
		a.acknowledge()
	}
}

// enforced is up to where everybody enforces the feed. mu is held.
func (a *Agent) enforced() uint64 {
	if a.rules == nil {
		return 0 // without the root's CRL and policy nothing is let in, but nothing was judged either
	}
	least := uint64(math.MaxUint64)
	for _, sequence := range a.enforcers {
		least = min(least, sequence)
	}
	return min(least, a.view.Sequence(), a.durable, a.followers.Enforced(a.feedOf))
}

// acknowledge tells the CA what is enforced and would still be after a restart.
func (a *Agent) acknowledge() {
	a.mu.Lock()
	feed, sequence := a.feed, a.enforced()
	a.mu.Unlock()
	if feed != nil {
		feed.Acknowledge(sequence)
	}
}

// keep makes the view durable until ctx ends: news at once, mere freshness now and then and at the end.
func (a *Agent) keep(ctx context.Context) {
	retry := pace.Backoff{Jitter: a.jitter}
	for {
		wait := tellFreshness
		if err := a.saveView(); err != nil {
			wait = min(retry.Next(err, 0), longestFeedDelay)
			a.fail("save", err, wait)
		} else {
			retry.Reset()
		}
		if ctx.Err() != nil {
			return
		}
		waitChange(ctx, a.newEntries, wait)
	}
}

// saveView saves the view unless that has been done, and acknowledges it.
func (a *Agent) saveView() error {
	a.saving.Lock()
	defer a.saving.Unlock()
	a.mu.Lock()
	view, saved := a.view, a.savedView
	a.mu.Unlock()
	if view == saved {
		return nil
	}
	if err := a.store.saveView(view); err != nil {
		a.metrics.saveFailures.Inc()
		return fmt.Errorf("%w: %w", errNotSaved, err)
	}
	a.mu.Lock()
	if view.TrustDomain() == a.feedOf {
		a.savedView = view
		a.durable = max(a.durable, view.Sequence())
	}
	a.mu.Unlock()
	a.acknowledge()
	return nil
}
