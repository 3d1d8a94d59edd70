package revocation

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// freshHead is how old a revocation may be whose number and time a CRL takes over.
	freshHead = time.Minute
	// pace is the least time between two publications of an issuer: revocations
	// that come meanwhile share the next one.
	pace = 250 * time.Millisecond
)

// authority is one issuer and what is published for it.
type authority struct {
	signer     CRLSigner
	history    *history
	everything *partition
	partitions []*partition // the shards, for each number of them

	mu          sync.Mutex // one publication at a time
	number      uint64     // guarded by mu, as everything below: the newest CRLs' number
	thisUpdate  time.Time
	tick        uint64 // the tick that the newest CRLs were made by
	incomplete  bool   // a publication failed half-way: make everything anew
	publishedAt time.Time
}

// pending reports whether certificates were revoked, held or released behind the newest CRLs.
func (a *authority) pending() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	newest, _ := a.history.newest()
	return a.incomplete || (newest.kind != Published && newest.sequence > a.number)
}

// due reports whether the next publication is due without a revocation: after the
// interval, and when the newest CRLs are from a future that a wrong clock believed in.
func (a *authority) due(now time.Time, interval time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !now.Before(a.thisUpdate.Add(interval)) || now.Before(a.thisUpdate.Add(-freshHead))
}

// publish makes new CRLs of one issuer from what is in the log now. With renew their
// times are new even if nothing was revoked.
func (p *Publisher) publish(ctx context.Context, a *authority, renew bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	number, at, err := p.take(ctx, a, renew)
	if err != nil {
		p.metrics.publications.WithLabelValues("log").Inc()
		return err
	}
	started := p.config.Now()
	v := a.history.view(number)
	next := at.Add(p.config.Validity)
	e := edition{
		signer: a.signer, number: number, thisUpdate: at, nextUpdate: next, times: newHTTPTimes(at, next), rules: v.rules(),
	}
	from := v.after(a.number)
	all := a.incomplete || a.tick != v.tick().sequence || v.overtakes(from)
	if all {
		from = 0
	}
	a.incomplete = true // until the end is reached
	for _, partition := range append(a.partitions, a.everything) {
		if err := partition.publish(e, v, from, all); err != nil {
			p.metrics.publications.WithLabelValues("sign").Inc()
			return err
		}
	}
	a.incomplete = false
	a.number, a.thisUpdate, a.tick, a.publishedAt = number, at, v.tick().sequence, p.config.Now()
	p.metrics.publications.WithLabelValues("ok").Inc()
	p.metrics.publishing.Observe(a.publishedAt.Sub(started).Seconds())
	if all {
		a.history.forget(at.Add(-p.config.Retention))
	}
	p.changed.notify()
	return nil
}

// take returns the number of the next CRLs and their thisUpdate: those of the newest
// revocation when that is new and its time is plausible, else those of a Published
// entry. Either way both follow from the log, so that two replicas never
// make different CRLs with one number (RFC 5280, section 5.2.3). The caller holds a.mu.
func (p *Publisher) take(ctx context.Context, a *authority, renew bool) (uint64, time.Time, error) {
	now := p.config.Now().UTC().Truncate(time.Second)
	if _, err := p.follower.fold(ctx, now); err != nil {
		return 0, time.Time{}, err
	}
	newest, latest := a.history.newest()
	at := time.Unix(int64(newest.at), 0).UTC()
	if !renew && newest.kind != Published && newest.sequence > a.number && newest.at >= latest &&
		!at.Before(a.thisUpdate) && !at.After(now) && now.Sub(at) < freshHead {
		return newest.sequence, at, nil
	}
	number, err := p.config.Log.AppendPublished(ctx, a.signer.ID(), now)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("take a CRL number for issuer %s: %w", a.signer.ID(), err)
	}
	if _, err := p.follower.fold(ctx, now); err != nil {
		return 0, time.Time{}, err
	}
	if number <= a.number || a.history.view(number).tick().sequence != number {
		return 0, time.Time{}, fmt.Errorf("the revocation log gave number %d after %d to a CRL of issuer %s and does not return it: it is damaged or another log", number, a.number, a.signer.ID())
	}
	return number, now, nil
}
