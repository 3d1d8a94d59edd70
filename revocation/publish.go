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

	complete sync.Mutex // one publication of everything at a time; taken before mu
	untold   int64      // guarded by complete: what the publication has claimed of the full list's delay

	mu          sync.Mutex // guards the shards, and what follows
	number      uint64     // the newest full CRL's
	thisUpdate  time.Time
	publishedAt time.Time
	unfinished  bool // the last publication failed half-way
}

// pending reports whether certificates were revoked, held or released behind the newest CRLs.
func (a *authority) pending() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	newest, _ := a.history.newest()
	return a.unfinished || (newest.kind != Published && newest.sequence > a.number)
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
	a.complete.Lock()
	defer a.complete.Unlock()
	started := p.config.Now()
	e, v, entries, err := p.publishShards(ctx, a, renew)
	if err != nil {
		return err
	}
	// The shards of what is revoked from here on need not wait for the hash over the full list.
	renewed := !a.everything.suits(v)
	if err := a.publishEverything(e, v, entries); err != nil {
		a.history.unlisted.restore(a.untold)
		p.metrics.publications.WithLabelValues("sign").Inc()
		return err
	}
	a.mu.Lock()
	a.number, a.thisUpdate, a.publishedAt, a.unfinished = e.number, e.thisUpdate, p.config.Now(), false
	a.mu.Unlock()
	observed(a.untold, p.config.Now(), p.metrics.fullDelay)
	p.metrics.publications.WithLabelValues("ok").Inc()
	p.metrics.publishing.Observe(p.config.Now().Sub(started).Seconds())
	if renewed {
		a.history.forget(e.thisUpdate.Add(-p.config.Retention))
	}
	p.changed.notify()
	return nil
}

// publishShards takes a number and publishes the shards with it. It returns the entries of all
// shards, if there are any.
func (p *Publisher) publishShards(ctx context.Context, a *authority, renew bool) (e edition, v view, entries [2]blocks, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	number, at, err := p.take(ctx, a, renew)
	if err != nil {
		p.metrics.publications.WithLabelValues("log").Inc()
		return e, v, entries, err
	}
	v = a.history.view(number)
	e = p.edition(a, number, at, v)
	unsharded := a.history.unsharded.claim()
	a.untold = a.history.unlisted.claim()
	a.unfinished = true // until the end is reached
	for _, shards := range a.partitions {
		if _, err := shards.publish(e, v, time.Time{}); err != nil {
			a.history.unsharded.restore(unsharded)
			a.history.unlisted.restore(a.untold)
			p.metrics.publications.WithLabelValues("sign").Inc()
			return e, v, entries, err
		}
	}
	if len(a.partitions) > 0 {
		observed(unsharded, p.config.Now(), p.metrics.shardDelay)
		entries = a.partitions[0].together()
	}
	return e, v, entries, nil
}

// publishEverything publishes the full CRL and its delta. Where there are shards they hold
// the same entries, and a million of them are encoded and held once.
func (a *authority) publishEverything(e edition, v view, shards [2]blocks) error {
	if len(a.partitions) > 0 {
		return a.everything.publishShared(e, v, shards)
	}
	_, err := a.everything.publish(e, v, time.Time{})
	return err
}

func (p *Publisher) edition(a *authority, number uint64, at time.Time, v view) edition {
	next := at.Add(p.config.Validity)
	return edition{
		signer: a.signer, number: number, thisUpdate: at, nextUpdate: next, times: newHTTPTimes(at, next), rules: v.rules(),
	}
}

// publishAhead publishes the shards of what was just revoked, ahead of the full CRL, which
// keeps its pace: a relying party that was given a shard need not wait because others are
// big.
//
// Such a shard has the number of the newest revocation, as the full CRL would have if it
// were published now, so the rules hold for its scope as they do for any. What it
// says follows from its number, and its delta CRL shares the number and the time (RFC 5280,
// section 5.2.4). The delta's base is the number of a renewal, at which every scope was
// published. The full CRL that follows has the same number, if nothing else was revoked,
// or a higher one; with the same one the shard is left as it is, because two CRLs of one
// scope must not share a number (section 5.2.3); and with a higher one it is published
// again only if it has news. Numbers of different scopes never had to be the same: a
// shard without news keeps its old one.
//
// Where the newest entry cannot give its number, or what all lists hold is about to change,
// it does nothing: the publication that is due takes care of it.
func (p *Publisher) publishAhead(a *authority) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := p.config.Now().UTC()
	number, at, ok := a.head(now.Truncate(time.Second))
	if !ok {
		return nil
	}
	v := a.history.view(number)
	e := p.edition(a, number, at, v)
	claimed, told := a.history.unsharded.claim(), true
	for _, shards := range a.partitions {
		if !shards.suits(v) {
			told = false
			break
		}
		all, err := shards.publish(e, v, now)
		if err != nil {
			a.history.unsharded.restore(claimed)
			p.metrics.publications.WithLabelValues("sign").Inc()
			return err
		}
		told = told && all
	}
	if !told {
		a.history.unsharded.restore(claimed)
	} else if len(a.partitions) > 0 {
		observed(claimed, p.config.Now(), p.metrics.shardDelay)
	}
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
	if number, at, ok := a.head(now); ok && !renew {
		return number, at, nil
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

// head returns number and time of the newest entry, if CRLs can take them over. The caller
// holds a.mu.
func (a *authority) head(now time.Time) (uint64, time.Time, bool) {
	newest, latest := a.history.newest()
	at := time.Unix(int64(newest.at), 0).UTC()
	ok := newest.kind != Published && newest.sequence > a.number && newest.at >= latest &&
		!at.Before(a.thisUpdate) && !at.After(now) && now.Sub(at) < freshHead
	return newest.sequence, at, ok
}
