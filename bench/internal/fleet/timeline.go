package fleet

import "time"

// Second is what happened within one second, or several together.
type Second struct {
	Renewed int
	PutOff  int // refused for now, with the advice to come back
	Failed  int // everything else
	Busiest int // of a sum: the most renewals in one second
}

// note returns the second of now. f.mu is held.
func (f *Fleet) note(now time.Time) *Second {
	at := now.Unix()
	second := f.seconds[at]
	if second == nil {
		second = new(Second)
		f.seconds[at] = second
	}
	return second
}

// Timeline returns what happened second by second.
func (f *Fleet) Timeline(from, to time.Time) []Second {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Second, max(int(to.Sub(from)/time.Second), 1))
	for i := range all {
		if second := f.seconds[from.Unix()+int64(i)]; second != nil {
			all[i] = *second
		}
	}
	return all
}

// Sum adds seconds up.
func Sum(seconds []Second) (sum Second) {
	for _, second := range seconds {
		sum.Renewed += second.Renewed
		sum.PutOff += second.PutOff
		sum.Failed += second.Failed
		sum.Busiest = max(sum.Busiest, second.Renewed)
	}
	return sum
}

// Renewed returns the renewals alone.
func Renewed(seconds []Second) []float64 {
	values := make([]float64, len(seconds))
	for i, second := range seconds {
		values[i] = float64(second.Renewed)
	}
	return values
}

// Expired returns how many certificates expired before they were renewed.
func (f *Fleet) Expired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expired
}

// LeastLeft returns the least life that a certificate had left when it was renewed, as a
// share of its whole life.
func (f *Fleet) LeastLeft() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.least
}

// Settled returns how long after since the last renewal was late by a twentieth of a life.
func (f *Fleet) Settled(since time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(f.overdue.Sub(since), 0)
}
