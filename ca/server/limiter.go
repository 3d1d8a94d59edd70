package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate" // token buckets, as everybody's

	"github.com/handfast/handfast/ca/api"
)

// maxAddresses bounds the limiter's memory.
const maxAddresses = 8192

// limiter bounds the work for callers who have proved nothing yet: how much of it is
// done at once, and how often one address may fail. Those who succeed are never slowed
// down by their number, so that a whole fleet can enrol from behind one address.
type limiter struct {
	slots chan struct{}
	queue time.Duration
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu       sync.Mutex // guards failures
	failures map[netip.Prefix]*rate.Limiter
}

func newLimiter(l Limits, now func() time.Time) *limiter {
	return &limiter{
		slots: make(chan struct{}, l.Slots), queue: l.Queue,
		rate: rate.Limit(l.FailureRate), burst: l.FailureBurst, now: now,
		failures: make(map[netip.Prefix]*rate.Limiter),
	}
}

// forgiven refuses an address that has failed too often lately.
func (l *limiter) forgiven(remote string) error {
	if wait := l.penalty(remote); wait > 0 {
		return rateLimited(wait, "too many refused requests from this address")
	}
	return nil
}

// do runs handle in a slot, or refuses with CodeRateLimited when none gets free in time.
func (l *limiter) do(r *request, handle handler) (a *answer, err error) {
	if err := l.enter(r.ctx()); err != nil {
		return nil, err
	}
	defer func() { // also when handle panics
		<-l.slots
		if blames(err) {
			l.charge(network(r.http.RemoteAddr))
		}
	}()
	return handle(r)
}

// enter waits for a slot.
func (l *limiter) enter(ctx context.Context) error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(l.queue)
	defer timer.Stop()
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return rateLimited(l.queue, "the CA is busy with enrolments")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// blames says whether a refusal is the caller's fault: guessing, garbage or repetition.
func blames(outcome error) bool {
	var refused *api.Error
	if !errors.As(outcome, &refused) {
		return false
	}
	return refused.Code.HTTPStatus() < 500 && refused.Code != api.CodeRateLimited
}

// penalty is how long the address has to wait until it may fail again.
func (l *limiter) penalty(remote string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) == 0 {
		return 0
	}
	bucket := l.failures[network(remote)]
	if bucket == nil {
		return 0
	}
	missing := 1 - bucket.TokensAt(l.now())
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(l.rate) * float64(time.Second))
}

func (l *limiter) charge(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.failures[from]
	if bucket == nil {
		l.makeRoom()
		bucket = rate.NewLimiter(l.rate, l.burst)
		l.failures[from] = bucket
	}
	bucket.AllowN(l.now(), 1)
}

// makeRoom forgets addresses that are forgiven, and if those are few, any: an attacker
// with that many addresses is stopped by the slots alone. It makes room for many at once,
// so that the work for each failure stays small.
func (l *limiter) makeRoom() {
	if len(l.failures) < maxAddresses {
		return
	}
	now := l.now()
	for from, bucket := range l.failures {
		if bucket.TokensAt(now) >= float64(l.burst) {
			delete(l.failures, from)
		}
	}
	for from := range l.failures {
		if len(l.failures) < maxAddresses*3/4 {
			return
		}
		delete(l.failures, from)
	}
}

// network is the address as one party: an IPv6 host can choose among a /64. What is no
// IP address (never on a TCP listener) shares one bucket.
func network(remote string) netip.Prefix {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

func rateLimited(wait time.Duration, message string) error {
	return &api.Error{Code: api.CodeRateLimited, Message: message, Hint: "wait as long as Retry-After says", RetryAfter: max(wait, time.Second)}
}
