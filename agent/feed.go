package agent

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"

	"github.com/handfast/handfast/agent/holder"
	"github.com/handfast/handfast/agent/pace"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
)

const (
	// tellFreshness is how often mere freshness is published to those who wait for changes, and saved, at most.
	// Whoever asks for the current snapshot has it at once.
	tellFreshness = time.Minute
	// longestFeedDelay keeps an agent from sleeping for long when its CA is back.
	longestFeedDelay = 30 * time.Second
	// signerChecked is how long a signer is not checked again while nothing has changed.
	signerChecked = time.Minute
)

// connection is a session with the CA as the feed's holder sees it.
type connection struct {
	ca    CA
	agent string // the agent's ID
}

func (c connection) Stream(ctx context.Context, since uint64) (holder.Stream, error) {
	return c.ca.Feed(ctx, since, c.agent)
}

func (c connection) Poll(ctx context.Context, since uint64, wait time.Duration) ([]api.FeedMessage, error) {
	return c.ca.FeedPoll(ctx, since, c.agent, wait)
}

// newFeed makes the holder for the own trust domain. What stands in view is durable. mu is held.
func (a *Agent) newFeed(domain string, view *feed.View) {
	check := signerCheck{agent: a}
	a.feedOf, a.savedView = domain, view
	a.durable = view.Sequence()
	for i := range a.enforcers {
		a.enforcers[i] = 0
	}
	var h *holder.Holder
	h = holder.New(holder.Config{
		TrustDomain: domain, View: view, Signer: check.check,
		Publish: func(update holder.Update) { a.takeView(h, update) },
		Refused: func(cause string) { a.metrics.feedRefused.WithLabelValues(cause).Inc() },
		Delay:   a.feedDelay, Failed: a.feedFailed, Patience: a.feedPatience,
		Now: a.now, Jitter: a.jitter, Logger: a.logger,
	})
	a.feed = h
}

// feedDelay is the pause after so many failures in a row.
func (a *Agent) feedDelay(failures int, err error) time.Duration {
	retry := pace.Backoff{Jitter: a.jitter, Failures: min(failures-1, 5)}
	return min(retry.Next(err, 0), longestFeedDelay)
}

// feedPatience is for how long the newest statement may be relied on.
func (a *Agent) feedPatience() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.view == nil {
		return tellFreshness
	}
	return a.patience()
}

// patience is for how long the newest statement may be relied on. There is one. mu is held.
func (a *Agent) patience() time.Duration { return a.view.Until(a.maxSilence()).Sub(a.view.SignedAt()) }

// feedFailed says that the feed cannot be had. What was refused has been said already.
func (a *Agent) feedFailed(err error, retry time.Duration) {
	if holder.Refused(err) != "" {
		a.note("feed", err, retry)
		return
	}
	a.fail("feed", err, retry)
}

// takeView makes what h knows now the rule.
func (a *Agent) takeView(h *holder.Holder, update holder.Update) {
	now := a.now()
	a.mu.Lock()
	if a.feed != h { // enrolled in another trust domain meanwhile
		a.mu.Unlock()
		return
	}
	late := a.view.Fresh(now, a.maxSilence()) != nil
	a.view = update.View
	versions := versionsOf(a.view)
	current := a.rules != nil && slices.Equal(versions, a.rules.raw.Versions)
	if current || slices.Equal(versions, a.askedFor) {
		a.report.confirmedAt = now.UTC()
	}
	a.noteWanted(update.Entries)
	loud := update.News || late || now.Sub(a.toldAt) >= a.tellAfter() || now.Before(a.toldAt)
	a.refresh(loud)
	stale := !current || a.keptOld
	a.mu.Unlock()
	if stale {
		wake(a.newVersions)
	}
	if !update.News {
		return
	}
	wake(a.newEntries)
	wake(a.newCRLs)
	a.logger.Info("what is revoked has changed", "sequence", update.View.Sequence(), "entries", len(update.Entries), "snapshot", update.Snapshot, "revoked", update.View.Len())
}

// tellAfter is after how long freshness is published to those who wait: soon enough for the service's limit. mu is held.
func (a *Agent) tellAfter() time.Duration {
	return min(tellFreshness, a.patience()/4)
}

// maxSilence is the service's policy; 0 is until the statement's nextUpdate. mu is held.
func (a *Agent) maxSilence() time.Duration {
	if a.rules == nil {
		return 0
	}
	return time.Duration(a.rules.raw.MaxSilence)
}

// refresh puts the rules and the feed together and publishes that: to everybody who waits for a change when it is
// loud, and otherwise to who asks. mu is held.
func (a *Agent) refresh(loud bool) {
	if a.cred == nil {
		return
	}
	a.live.Store(a.snapshot())
	if loud {
		a.toldAt = a.now()
		close(a.changed)
		a.changed = make(chan struct{})
	}
}

// snapshot is what is known. mu is held.
func (a *Agent) snapshot() *certs.Snapshot {
	snap := &certs.Snapshot{Certificate: a.stapler.show(a.cred.cert), ID: a.cred.id, Bundle: a.cred.bundle}
	if a.rules == nil {
		return snap
	}
	snap.Policy, snap.Revocation = a.rules.policy, a.rules.revocation
	if a.view != nil {
		snap.Revocation = a.rules.revocation.WithFeed(a.view, a.maxSilence())
	}
	return snap
}

// signerCheck decides who may sign the feed, and remembers its last answer for a while: each of many agents on one
// host would pay for the path with each statement.
type signerCheck struct {
	agent  *Agent
	leaf   [sha256.Size]byte
	bundle *certs.Bundle
	crls   *certs.Revocation
	at     time.Time
}

// check is called by the holder, one statement after the other.
func (c *signerCheck) check(chain []*x509.Certificate) (*x509.Certificate, error) {
	a := c.agent
	now := a.now()
	a.mu.Lock()
	snap := a.snapshot()
	var crls *certs.Revocation
	if a.rules != nil {
		crls = a.rules.revocation
	}
	a.mu.Unlock()
	leaf := sha256.Sum256(chain[0].Raw)
	known := leaf == c.leaf && snap.Bundle == c.bundle && crls == c.crls && now.Sub(c.at).Abs() < signerChecked
	if known && now.Before(chain[0].NotAfter) && !listed(snap.Revocation.Feed(), chain) {
		return chain[0], nil
	}
	cert, err := certs.CheckFeedSigner(chain, snap, now)
	if err != nil {
		*c = signerCheck{agent: a}
		return nil, err
	}
	*c = signerCheck{agent: a, leaf: leaf, bundle: snap.Bundle, crls: crls, at: now}
	return cert, nil
}

// listed reports whether the feed itself has something against a certificate of chain.
func listed(view *feed.View, chain []*x509.Certificate) bool {
	return view != nil && slices.ContainsFunc(chain, func(cert *x509.Certificate) bool {
		_, found := view.Find(hex.EncodeToString(cert.AuthorityKeyId), cert.SerialNumber.Bytes())
		return found
	})
}

// wake tells a loop that there is work; a loop that has not seen the last one sees both.
func wake(work chan struct{}) {
	select {
	case work <- struct{}{}:
	default:
	}
}
