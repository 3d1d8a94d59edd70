package ca

import (
	"sync"
	"time"
)

// plan counts when the renewals that this process has asked for are due, and moves those of
// a crowded time forward into an emptier one: a fleet that renewed all together, as after an
// outage, would do so again and again. It is bounded: what lies further ahead than
// planSlots shares its counts. The zero value is ready.
type plan struct {
	mu    sync.Mutex
	slots [planSlots]planned
}

type planned struct {
	slot int64
	due  int
}

const (
	planSlot  = 10 * time.Second
	planSlots = 4096 // some eleven hours
	planTries = 64   // places in the window that are looked at
	planCalm  = 100  // renewals in a slot that crowd nobody
	planShare = 4    // of the time until a renewal, it may be moved by that part
)

// place returns when to ask for a renewal that is meant for at: then, or up to a quarter
// of the time until then earlier, if less than half as many are due there.
func (p *plan) place(now, at time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := at
	if n := p.due(at); n >= planCalm {
		step := max(at.Sub(now)/planShare/planTries, planSlot)
		for i, least := 1, n/2; i <= planTries && at.Sub(now) > planShare*step*time.Duration(i); i++ {
			if other := at.Add(-step * time.Duration(i)); p.due(other) < least {
				best, least = other, p.due(other)
			}
		}
	}
	p.slot(best).due++
	return best
}

func (p *plan) due(at time.Time) int { return p.slot(at).due }

func (p *plan) slot(at time.Time) *planned {
	slot := at.Unix() / int64(planSlot/time.Second)
	s := &p.slots[uint64(slot)%planSlots]
	if s.slot != slot {
		*s = planned{slot: slot}
	}
	return s
}
