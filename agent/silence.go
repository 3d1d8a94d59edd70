package agent

import (
	"context"
	"time"
)

// watchSilence publishes again when the feed has been silent for longer than the service's policy
// allows, so that whoever holds connections judges them by that, and says it. It returns when ctx ends.
func (a *Agent) watchSilence(ctx context.Context) {
	silent := false
	for ctx.Err() == nil {
		changed := a.Changed()
		until := a.feedUntil()
		now := a.now()
		over := !until.IsZero() && now.After(until)
		if over != silent {
			silent = over
			a.tellSilence(over, until)
		}
		wait := clockCheck // the wall clock is looked at now and then: it may be corrected
		if !over && !until.IsZero() {
			// One step behind the limit, where everybody's comparison says that it is over.
			wait = min(wait, until.Sub(now)+time.Millisecond)
		}
		waitChange(ctx, changed, wait)
	}
}

// feedUntil is until when the feed may be relied on; zero while there is none.
func (a *Agent) feedUntil() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.view == nil || a.rules == nil {
		return time.Time{}
	}
	return a.view.Until(a.maxSilence())
}

// tellSilence publishes and logs that the feed went silent, or speaks again.
func (a *Agent) tellSilence(over bool, until time.Time) {
	a.mu.Lock()
	view, limit := a.view, a.maxSilence()
	a.refresh(true)
	a.mu.Unlock()
	fields := append([]any{"sequence", view.Sequence(), "signed_at", view.SignedAt(), "max_silence", limitText(limit)}, a.clocks()...)
	if !over {
		a.logger.Info("the CA's feed speaks again: peers are judged by it", fields...)
		return
	}
	a.logger.Error("the CA's feed has been silent for too long: every peer is refused and open connections are cut",
		append(fields, "until", until, "advice", "look at the CA and the way to it; how long a service goes on is its max_silence: handfast service apply, or add with --max-silence")...)
}

// limitText is a policy of silence in words.
func limitText(limit time.Duration) string {
	if limit == 0 {
		return "until the statement's nextUpdate"
	}
	return limit.String()
}
