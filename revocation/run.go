package revocation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// poll is how often the log is looked at without being told: other replicas append to it too.
	poll = 500 * time.Millisecond
	// retry is the time between a failed publication and the next attempt.
	retry = 2 * time.Second
)

// Run publishes within a second after a revocation, and each Interval in any case,
// until ctx is done; it returns nil then. Shards it publishes at once, as often as it
// publishes everything else. A publication that fails leaves the CRLs
// before it in place and is tried again; Healthy tells of it.
func (p *Publisher) Run(ctx context.Context) error {
	var ahead sync.WaitGroup
	ahead.Go(func() { p.runAhead(ctx) })
	defer ahead.Wait()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var retryAt time.Time
	readable := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-ticker.C:
			// Errors are counted and kept by the follower; only changes are news for the log.
			err := p.Sync(ctx)
			if (err == nil) != readable && ctx.Err() == nil {
				readable = err == nil
				p.logReadable(err)
			}
		}
		if now := p.config.Now(); now.Before(retryAt) {
			continue
		}
		if err := p.publishDue(ctx); err != nil && ctx.Err() == nil {
			retryAt = p.config.Now().Add(retry)
			p.config.Logger.Error("CRLs could not be published; the ones before stay", "error", err, "retry_in", retry)
		}
	}
}

// runAhead publishes the shards of what was revoked as soon as it is known, and then asks for
// everything: the hash over the full list has time, and shall not take the processor from them.
func (p *Publisher) runAhead(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wakeAhead:
		}
		for _, a := range p.authorities {
			// A failure is counted; the full CRL, which follows, will fail too and tell of it.
			_ = p.publishAhead(a)
		}
		ask(p.wake)
	}
}

func (p *Publisher) logReadable(err error) {
	if err != nil {
		p.config.Logger.Error("revocation log cannot be read; OCSP answers tryLater", "error", err)
		return
	}
	p.config.Logger.Info("revocation log can be read again")
}

// publishDue publishes for the issuers that need it.
func (p *Publisher) publishDue(ctx context.Context) error {
	var failures []error
	for _, a := range p.authorities {
		renew := a.due(p.config.Now(), p.config.Interval)
		if !renew && !a.pending() {
			continue
		}
		if !renew && !p.wait(ctx, a) {
			return ctx.Err()
		}
		if err := p.publish(ctx, a, renew); err != nil {
			failures = append(failures, err)
			continue
		}
		p.config.Logger.Info("published CRLs", "issuer", a.signer.ID(), "number", a.current().number, "entries", a.current().entries)
	}
	err := errors.Join(failures...)
	p.mu.Lock()
	p.lastErr = err
	p.mu.Unlock()
	p.observe()
	return err
}

// wait keeps the pace, so that a stream of revocations shares publications. It reports
// whether ctx lives.
func (p *Publisher) wait(ctx context.Context, a *authority) bool {
	a.mu.Lock()
	ahead := a.publishedAt.Add(pace).Sub(p.config.Now())
	a.mu.Unlock()
	if ahead <= 0 || ahead > pace { // far ahead: the clock was set back
		return ctx.Err() == nil
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (a *authority) current() *document { return a.everything.scopes[0].full.newest.Load() }

// observe sets the gauge of the earliest nextUpdate.
func (p *Publisher) observe() {
	earliest := p.authorities[0].current().nextUpdate
	for _, a := range p.authorities[1:] {
		if next := a.current().nextUpdate; next.Before(earliest) {
			earliest = next
		}
	}
	p.metrics.nextUpdate.Set(float64(earliest.Unix()))
}

// Healthy returns nil when every CRL is fresh and the log can be read, else what is
// wrong. A CRL is late when a publication has been missed, long before it expires.
func (p *Publisher) Healthy(now time.Time) error {
	var problems []error
	for _, a := range p.authorities {
		d := a.current()
		late := now.Sub(d.thisUpdate.Add(p.config.Interval))
		if late > max(p.config.Interval/10, 4*retry) {
			problems = append(problems, fmt.Errorf("CRL of issuer %s is late by %v and expires at %s: is the publisher running?",
				d.issuer, late.Round(time.Second), d.nextUpdate.Format(time.RFC3339)))
		}
	}
	for _, d := range *p.static.Load() {
		problems = append(problems, p.missing(d))
		if now.After(d.nextUpdate) {
			problems = append(problems, fmt.Errorf("CRL of issuer %s, which was made elsewhere, expired at %s: sign a new one with that issuer's key",
				d.issuer, d.nextUpdate.Format(time.RFC3339)))
		}
	}
	p.mu.Lock()
	problems = append(problems, p.lastErr)
	p.mu.Unlock()
	problems = append(problems, p.follower.fresh(now))
	return errors.Join(problems...)
}
