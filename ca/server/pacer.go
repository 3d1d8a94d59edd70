package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/api"
)

const (
	pacerWaiting = 4                // times as many may wait as work
	pacerSpread  = 3                // who is deferred comes back within that part of what is left of the certificate's life
	maxDeferral  = 15 * time.Minute // agents cut longer advice
)

// pacer bounds the renewals that are worked on at once, so that a fleet that comes all
// together, as after an outage of the CA, is not served so slowly that everybody gives up. Of those that wait,
// whoever's certificate expires first is served first. Who finds no room, or gives it to
// somebody more pressed, is told to come back: at a random time, and the later the more
// life the certificate has left.
type pacer struct {
	slots    int
	patience time.Duration // how long one waits
	now      func() time.Time
	metrics  *metrics

	mu      sync.Mutex
	working int
	waiting []*waiter
}

// waiter is a renewal that waits. Its channel, of size 1, says how that ended: true is a slot.
type waiter struct {
	notAfter time.Time
	served   chan bool
}

func newPacer(l Limits, now func() time.Time, m *metrics) *pacer {
	return &pacer{slots: l.Renewals, patience: l.Queue, now: now, metrics: m}
}

// paced makes a handler of renewals, which are by the peer's certificate.
func (p *pacer) paced(handle handler) handler {
	return func(r *request) (*answer, error) {
		notAfter := r.http.TLS.PeerCertificates[0].NotAfter // admit has looked at it
		if err := p.enter(r.ctx(), notAfter); err != nil {
			return nil, err
		}
		defer p.leave() // also when handle panics
		return handle(r)
	}
}

// enter returns nil with a slot, which leave gives back.
func (p *pacer) enter(ctx context.Context, notAfter time.Time) error {
	w := p.join(notAfter)
	if w == nil {
		return nil
	}
	timer := time.NewTimer(p.patience)
	defer timer.Stop()
	var served bool
	select {
	case served = <-w.served:
	case <-timer.C:
		served = p.withdraw(w)
	case <-ctx.Done():
		if served = p.withdraw(w); served {
			p.leave()
		}
		return ctx.Err()
	}
	if !served {
		return p.deferral(notAfter)
	}
	return nil
}

// join takes a slot, and returns nil, or a place among those that wait. The one with most
// time left has none when there are too many.
func (p *pacer) join(notAfter time.Time) *waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.working < p.slots {
		p.working++
		return nil
	}
	w := &waiter{notAfter, make(chan bool, 1)}
	p.waiting = append(p.waiting, w)
	if len(p.waiting) > pacerWaiting*p.slots {
		p.take(func(a, b *waiter) bool { return a.notAfter.After(b.notAfter) }).served <- false
	}
	return w
}

// leave gives the slot to the most pressed.
func (p *pacer) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.working--
		return
	}
	p.take(func(a, b *waiter) bool { return a.notAfter.Before(b.notAfter) }).served <- true
}

// take removes the first by before. They are few hundreds, so a look at each is cheap.
func (p *pacer) take(before func(a, b *waiter) bool) *waiter {
	first := 0
	for i := range p.waiting {
		if before(p.waiting[i], p.waiting[first]) {
			first = i
		}
	}
	w := p.waiting[first]
	last := len(p.waiting) - 1
	p.waiting[first], p.waiting[last] = p.waiting[last], nil
	p.waiting = p.waiting[:last]
	return w
}

// withdraw ends a wait. It reports whether the slot came at that very moment.
func (p *pacer) withdraw(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.waiting {
		if p.waiting[i] == w {
			last := len(p.waiting) - 1
			p.waiting[i], p.waiting[last] = p.waiting[last], nil
			p.waiting = p.waiting[:last]
			return false
		}
	}
	return <-w.served
}

// deferral spreads those that are deferred over what they can bear.
func (p *pacer) deferral(notAfter time.Time) error {
	p.metrics.deferred.Inc()
	most := min(notAfter.Sub(p.now())/pacerSpread, maxDeferral)
	random, err := rand.Int(rand.Reader, big.NewInt(int64(max(most-time.Second, 1))))
	if err != nil {
		return err // never: crypto/rand ends the process instead
	}
	wait := time.Second + time.Duration(random.Int64())
	return &api.Error{
		Code: api.CodeRateLimited, RetryAfter: wait,
		Message: fmt.Sprintf("more than %d renewals came at once, and those whose certificates expire sooner go first", p.slots),
		Hint:    "wait as long as Retry-After says",
	}
}
