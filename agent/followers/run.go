package followers

import (
	"context"
	"log/slog"
	"time"
)

const (
	// slow is after how long a program that does not confirm is logged.
	slow = 5 * time.Second
	// stuck is after how long the connection of one that lets nobody in any more, and takes nothing, is closed.
	stuck = time.Minute
	// look is how often the time is looked at in any case: positions end by the wall clock, which may be set.
	look = 30 * time.Second
)

// Run lets time pass until ctx ends: who is gone for long is forgotten, whose position has ended holds nothing back, and
// who does not confirm for long is logged. A connection that takes nothing for so long that its program lets nobody in any
// more is closed.
func (r *Registry) Run(ctx context.Context, logger *slog.Logger) {
	for {
		next := r.pass(logger)
		r.moved()
		timer := time.NewTimer(next)
		select {
		case <-r.wake:
			timer.Stop()
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// pass does what is due, and returns when there may be more.
func (r *Registry) pass(logger *slog.Logger) time.Duration {
	useless, next := r.due(logger)
	for _, conn := range useless {
		conn.Close() //nolint:errcheck // it is given up
	}
	return max(next, time.Millisecond)
}

func (r *Registry) due(logger *slog.Logger) (useless []Conn, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	next = look
	until := func(t time.Time) {
		if left := t.Sub(now); left > 0 { // one step behind, where a comparison says that it is over
			next = min(next, left+time.Millisecond)
		}
	}
	for id, f := range r.all {
		if f.over(now) {
			delete(r.all, id)
			continue
		}
		f.settle(now)
		if f.conn != nil && f.told != nil && f.sure == nil && now.Sub(f.toldAt) > stuck {
			useless = append(useless, f.conn)
		}
		f.warn(now, logger)
		if !f.goneAt.IsZero() {
			until(f.goneAt.Add(Grace))
		}
		if f.sure != nil {
			until(f.sure.Until)
		}
		if f.told != nil {
			until(f.toldAt.Add(slow))
			until(f.toldAt.Add(stuck))
		}
	}
	return useless, next
}

// warn says once that f holds the agent's word back. mu is held.
func (f *Follower) warn(now time.Time, logger *slog.Logger) {
	if f.told == nil || f.sure == nil || f.warned || now.Sub(f.toldAt) < slow {
		return
	}
	f.warned = true
	logger.Warn("a program on the local socket was sent a snapshot and does not say that it enforces it; until it does, goes away or lets nobody in any more by itself, the CA is not told so either",
		"program", f.who.Program, "pid", f.who.PID, "follower", f.who.ID, "enforces", f.sure.Sequence, "sent", f.told.Sequence, "until", f.sure.Until,
		"advice", "look whether that program hangs, in its OnLoad function for example; restart it")
}
