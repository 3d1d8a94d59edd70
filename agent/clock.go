package agent

import "time"

// clockTolerance is the offset between the CA's clock and ours that is worth a warning: what
// profiles backdate at most by default.
const clockTolerance = 30 * time.Second

// clockOffset is how far the CA's clock is ahead of this host's.
type clockOffset struct {
	known bool
	ahead time.Duration
}

// recordClock compares the CA's clock with this host's.
func (a *Agent) recordClock(server time.Time) {
	if server.IsZero() {
		return
	}
	ahead := server.Sub(a.now())
	a.mu.Lock()
	before := a.clock
	a.clock = clockOffset{known: true, ahead: ahead}
	a.mu.Unlock()
	if ahead.Abs() > clockTolerance && (!before.known || before.ahead.Abs() <= clockTolerance) {
		a.logger.Warn("this host's clock and the CA's differ: check time synchronisation on both", a.clocks()...)
	}
}

// caTime is the CA's clock as far as it is known, this host's otherwise.
func (a *Agent) caTime() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now().Add(a.clock.ahead).UTC()
}

// CATime returns the CA's clock, as it was compared last, and false while it is unknown.
func (a *Agent) CATime() (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now().Add(a.clock.ahead).UTC(), a.clock.known
}

// clocks are the log fields of both clocks.
func (a *Agent) clocks() []any {
	fields := []any{"own_clock", a.now().UTC()}
	if ca, known := a.CATime(); known {
		fields = append(fields, "ca_clock", ca)
	}
	return fields
}
