// Package pace says when an agent asks again: after a failure, and for its next certificate, so that a fleet which
// started or failed together does not ask together.
package pace

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// Limits of waiting.
const (
	First         = time.Second      // after the first failure, at most
	Longest       = 5 * time.Minute  // after many, at most
	LongestAdvice = 15 * time.Minute // of Retry-After: a CA's slip must not silence an agent for hours
)

// doublings is how often First doubles until it is past Longest.
const doublings = 9

// Jitter returns a uniform number in [0,1).
func Jitter() float64 {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails (crypto/rand documents it)
	return float64(binary.LittleEndian.Uint64(b[:])>>11) / (1 << 53)
}

// Backoff is jittered and exponential. It is small enough to be ours: it must listen to Retry-After, to the
// certificate's remaining life and to an injected source of jitter. It is for one goroutine at a time.
type Backoff struct {
	Jitter   func() float64 // numbers in [0,1); nil is the function Jitter
	Failures int            // in a row, so far
}

// Next counts a failure with err and returns how long to wait after it: half of that is certain. remaining is the
// life that the certificate has left, 0 where that does not matter: the shorter it is, the more often
// is tried, because then waiting costs an outage. A Retry-After in err is a lower bound.
func (b *Backoff) Next(err error, remaining time.Duration) time.Duration {
	wait := min(First<<min(b.Failures, doublings), Longest)
	b.Failures++
	if remaining > 0 {
		wait = min(wait, max(remaining/10, First))
	}
	jitter := b.Jitter
	if jitter == nil {
		jitter = Jitter
	}
	wait = wait/2 + time.Duration(jitter()*float64(wait/2))
	var refused *api.Error
	if errors.As(err, &refused) && refused.RetryAfter > 0 {
		advised := min(refused.RetryAfter, LongestAdvice)
		wait = max(wait, advised+time.Duration(jitter()*float64(advised/10)))
	}
	return wait
}

// Reset is for a success.
func (b *Backoff) Reset() { b.Failures = 0 }

// Spread moves what is due at a time by up to a twentieth of the certificate's life to either side: 0 of jitter to the
// earliest, 1 to the latest. It never moves it by more than a quarter of the time until then: a CA may ask
// for renewals long before the end.
func Spread(at, now time.Time, life time.Duration, jitter float64) time.Time {
	width := min(life/10, max(at.Sub(now)/2, 0))
	return at.Add(time.Duration((jitter - 0.5) * float64(width)))
}
