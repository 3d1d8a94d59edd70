package agent

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// Limits of waiting.
const (
	firstDelay    = time.Second
	longestDelay  = 5 * time.Minute
	longestAdvice = 15 * time.Minute // of Retry-After: a CA's slip must not silence an agent for hours
	tokenPoll     = 5 * time.Second  // how often a missing token is looked for
	pollsAtOnce   = 10               // questions about the CA's state without a pause; then one a second
	clockCheck    = 30 * time.Second // how often a long sleep looks at the wall clock
)

// randomJitter returns a uniform number in [0,1).
func randomJitter() float64 {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails (crypto/rand documents it)
	return float64(binary.LittleEndian.Uint64(b[:])>>11) / (1 << 53)
}

// backoff is jittered and exponential. It is small enough to be ours: it must listen to
// Retry-After, to the certificate's remaining life and to an injected source of jitter.
type backoff struct {
	jitter func() float64
	delay  time.Duration // of the next failure, before jitter
}

// next returns how long to wait after a failure with err. remaining is the life that
// the certificate has left, 0 when there is none: the shorter it is, the more often
// is tried, because then waiting costs an outage. Retry-After is a lower bound.
func (b *backoff) next(err error, remaining time.Duration) time.Duration {
	if b.delay == 0 {
		b.delay = firstDelay
	}
	wait := b.delay
	b.delay = min(2*b.delay, longestDelay)
	if remaining > 0 {
		wait = min(wait, max(remaining/10, firstDelay))
	}
	wait = wait/2 + time.Duration(b.jitter()*float64(wait/2))
	var refused *api.Error
	if errors.As(err, &refused) && refused.RetryAfter > 0 {
		advised := min(refused.RetryAfter, longestAdvice)
		wait = max(wait, advised+time.Duration(b.jitter()*float64(advised/10)))
	}
	return wait
}

func (b *backoff) reset() { b.delay = 0 }

// spread moves a renewal by up to a twentieth of the certificate's life to either
// side, so that a fleet that started together does not renew together. It never moves one by
// more than a quarter of the time until then: a CA may ask for renewals long before the end.
func spread(at, now time.Time, life time.Duration, jitter float64) time.Time {
	width := min(life/10, max(at.Sub(now)/2, 0))
	return at.Add(time.Duration((jitter - 0.5) * float64(width)))
}

// sleep waits for d. It reports false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// waitChange waits until changed is closed, d is over or ctx ends.
func waitChange(ctx context.Context, changed <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// sleepUntil waits until the wall clock shows at. It looks at that clock now and then,
// because timers stand still while a machine is suspended and do not follow a
// corrected clock. It reports false when ctx ends first.
func (a *Agent) sleepUntil(ctx context.Context, at time.Time) bool {
	for {
		left := at.Round(0).Sub(a.now().Round(0))
		if left <= 0 {
			return ctx.Err() == nil
		}
		if !sleep(ctx, min(left, clockCheck)) {
			return false
		}
	}
}
