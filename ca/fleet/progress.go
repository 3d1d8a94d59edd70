package fleet

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"
)

const (
	// maxRounds is for how many revocations the times are kept: 4 octets an agent each.
	maxRounds = 64
	// waitPause is how often who waits looks again at most, so that thousands of
	// acknowledgements in a few milliseconds are not each looked at.
	waitPause = 5 * time.Millisecond
)

// round is one revocation whose way to the agents is measured.
type round struct {
	sequence uint64
	at       time.Time // when it was durable
	took     []uint32  // microseconds
	slowest  key
	longest  uint32
}

// Note says that everything up to sequence was durable at that time. It has to be called
// before the agents can learn of it.
func (f *Fleet) Note(sequence uint64, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	place, known := slices.BinarySearchFunc(f.rounds, sequence, func(r *round, s uint64) int { return cmp.Compare(r.sequence, s) })
	if known {
		return // it was repeated, and changed nothing
	}
	f.rounds = slices.Insert(f.rounds, place, &round{sequence: sequence, at: at})
	if len(f.rounds) > maxRounds {
		f.rounds = slices.Delete(f.rounds, 0, 1)
	}
}

// acknowledge moves a to sequence, and measures. f.mu is held.
func (f *Fleet) acknowledge(a *agent, sequence uint64, now time.Time) {
	if sequence <= a.row.Sequence {
		return
	}
	a.row.Sequence, a.row.EnforcedAt, a.dirty = sequence, now, true
	for _, r := range slices.Backward(f.rounds) {
		if r.sequence <= a.highest {
			break
		}
		// Who came to be after the revocation had nothing to wait for.
		if r.sequence <= sequence && !a.first.After(r.at) {
			r.add(a.key(), now.Sub(r.at))
			f.metrics.enforced.Observe(now.Sub(r.at).Seconds())
		}
	}
	a.highest = max(a.highest, sequence)
	f.wake()
}

func (r *round) add(who key, took time.Duration) {
	micros := uint32(min(max(took.Microseconds(), 0), math.MaxUint32))
	r.took = append(r.took, micros)
	if micros >= r.longest {
		r.slowest, r.longest = who, micros
	}
}

func (r *round) median() time.Duration {
	sorted := slices.Sorted(slices.Values(r.took))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return time.Duration(sorted[middle]) * time.Microsecond
	}
	return time.Duration(uint64(sorted[middle-1])+uint64(sorted[middle])) * time.Microsecond / 2
}

// Progress is how far the revocation with a sequence number has come.
type Progress struct {
	Sequence  uint64
	Known     bool // Note told of it, and it is not too long ago
	Agents    int  // that count
	Enforcing int
	Connected int
	Measured  int // agents that Median and Slowest are about
	Median    time.Duration
	Slowest   time.Duration
	SlowestBy *Agent  // nil when nobody was measured, or when it is forgotten
	Pending   []Agent // connected and not there yet, by service and ID; the first Named
	Silent    []Agent // not connected and not there yet, by service and ID; the first Named

	PendingTotal, SilentTotal int
}

// Named is how many agents each list of a Progress names at most.
const Named = 100

// Progress says how far sequence has come.
func (f *Fleet) Progress(sequence uint64) Progress {
	now := f.cfg.Now()
	p := Progress{Sequence: sequence}
	var pending, silent []*agent
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.agents {
		state := f.state(a, sequence, now)
		if !state.counts() {
			continue
		}
		p.Agents++
		if a.connected(now) {
			p.Connected++
		}
		switch {
		case a.row.Sequence >= sequence:
			p.Enforcing++
		case state == Lagging:
			pending = append(pending, a)
		default:
			silent = append(silent, a)
		}
	}
	f.measured(&p, now)
	p.Pending, p.PendingTotal = f.named(pending, sequence, now), len(pending)
	p.Silent, p.SilentTotal = f.named(silent, sequence, now), len(silent)
	return p
}

// named shows the first of list, which may be everybody in the moment after a revocation. f.mu is held.
func (f *Fleet) named(list []*agent, sequence uint64, now time.Time) []Agent {
	slices.SortFunc(list, func(a, b *agent) int {
		return cmp.Or(cmp.Compare(a.row.Service, b.row.Service), cmp.Compare(a.row.ID, b.row.ID))
	})
	var shown []Agent
	for _, a := range list[:min(len(list), Named)] {
		shown = append(shown, f.show(a, sequence, now))
	}
	return shown
}

func (s State) counts() bool { return s == Current || s == Lagging || s == Silent }

// measured fills in the times. f.mu is held.
func (f *Fleet) measured(p *Progress, now time.Time) {
	for _, r := range f.rounds {
		if r.sequence != p.Sequence {
			continue
		}
		p.Known, p.Measured = true, len(r.took)
		if p.Measured == 0 {
			return
		}
		p.Median, p.Slowest = r.median(), time.Duration(r.longest)*time.Microsecond
		if a := f.agents[r.slowest]; a != nil {
			shown := f.show(a, p.Sequence, now)
			p.SlowestBy = &shown
		}
		return
	}
}

func byName(a, b Agent) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID))
}

// Await waits until no connected agent enforces less than sequence, or until ctx ends.
func (f *Fleet) Await(ctx context.Context, sequence uint64) {
	changed := make(chan struct{}, 1)
	f.mu.Lock()
	f.waiters[changed] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.waiters, changed)
		f.mu.Unlock()
	}()
	for behind := f.behind(nil, sequence); len(behind) > 0; behind = f.behind(behind, sequence) {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(waitPause):
		case <-ctx.Done():
			return
		}
	}
}

// behind returns list without those at its end that lag no more, and where that leaves nobody, everybody who lags. So who waits
// for thousands looks at most of them twice in all, not each time that one of them has come on.
func (f *Fleet) behind(list []*agent, sequence uint64) []*agent {
	now := f.cfg.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	lags := func(a *agent) bool { return a.row.Sequence < sequence && f.state(a, sequence, now) == Lagging }
	for last := len(list) - 1; last >= 0; last-- {
		if a := list[last]; lags(a) && f.agents[a.key()] == a {
			return list[:last+1]
		}
	}
	list = list[:0]
	for _, a := range f.agents {
		if lags(a) {
			list = append(list, a)
		}
	}
	return list
}

// wake tells who waits that something has changed. f.mu is held.
func (f *Fleet) wake() {
	for changed := range f.waiters {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}
