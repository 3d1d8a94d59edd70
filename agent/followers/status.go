package followers

import (
	"cmp"
	"slices"
	"time"
)

// Status is a program that follows the agent.
type Status struct {
	ID        string `json:"id"`
	Program   string `json:"program,omitempty"` // its file's name, as it says itself
	PID       int    `json:"pid,omitempty"`     // as it sees that itself
	Old       bool   `json:"old,omitempty"`     // it is built with a library from before followers said what they enforce
	Connected bool   `json:"connected"`
	// Enforced is up to where it has confirmed the feed. While Refusing it has nothing that counts, and lets nobody in.
	Enforced uint64 `json:"enforced"`
	Refusing bool   `json:"refusing,omitempty"`
	// Lagging is that it holds back what the CA is told: it enforces less than the agent knows.
	Lagging    bool      `json:"lagging,omitempty"`
	LagSeconds float64   `json:"lag_seconds,omitempty"` // since it was sent what it has not confirmed
	Until      time.Time `json:"until,omitzero"`        // when it lets nobody in any more if it hears nothing
}

// List returns who follows, those that lag first. The agent stands at sequence of trustDomain's feed.
func (r *Registry) List(trustDomain string, sequence uint64) []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	var list []Status
	for _, f := range r.all {
		if f.who.ID == "" || f.over(now) {
			continue
		}
		f.settle(now)
		s := Status{
			ID: f.who.ID, Program: f.who.Program, PID: f.who.PID, Old: f.who.Old,
			Connected: f.goneAt.IsZero(), Refusing: f.sure == nil, Lagging: f.sequence(trustDomain) < sequence,
		}
		if f.sure != nil {
			s.Until = f.sure.Until.UTC()
			s.Enforced = f.sequence(trustDomain)
		}
		if s.Lagging && f.told != nil {
			s.LagSeconds = now.Sub(f.toldAt).Seconds()
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Status) int {
		if a.Lagging != b.Lagging {
			if a.Lagging {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.LagSeconds, a.LagSeconds), cmp.Compare(a.Program, b.Program), cmp.Compare(a.ID, b.ID))
	})
	return list
}
