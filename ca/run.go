package ca

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	purgeBatch        = 100 // rows in one transaction: some milliseconds of the writer's time
	purgePause        = 10 * time.Millisecond
	purgeShare        = 3                // the pause is that many times as long as the transaction, at least
	purgeFirst        = 30 * time.Second // after the start, so that a CA that never runs for long forgets, too
	purgeInterval     = 10 * time.Minute
	responderInterval = time.Minute
	probeFresh        = time.Second // how long Ready believes the last probe
	probeTimeout      = 5 * time.Second
	taskFeedSigner    = "feed_signer" // in metrics and the log
)

// Prepare makes the OCSP responders and the feed's signer, where they are missing. Whoever
// serves calls it before he listens, so that the first request finds them.
func (c *CA) Prepare(ctx context.Context) error {
	if err := errors.Join(c.RotateResponders(ctx), c.RotateFeedSigner(ctx)); err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	return nil
}

// Run prepares before anything else, then keeps responders and signer
// fresh, purges and carries the publisher's changes to the feed until ctx ends. It returns an
// error only if the first responders and signer cannot be made. Call it once.
func (c *CA) Run(ctx context.Context) error {
	if err := c.Prepare(ctx); err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error {
		c.every(ctx, responderInterval, responderInterval, "responder", c.RotateResponders)
		return nil
	})
	group.Go(func() error {
		c.every(ctx, responderInterval, responderInterval, taskFeedSigner, c.RotateFeedSigner)
		return nil
	})
	group.Go(func() error { c.every(ctx, purgeFirst, purgeInterval, "purge", c.purge); return nil })
	group.Go(func() error { c.forwardChanges(ctx); return nil })
	return group.Wait()
}

// every runs task after first, then at each interval, and goes on after a failure.
func (c *CA) every(ctx context.Context, first, interval time.Duration, name string, task func(context.Context) error) {
	ticker := time.NewTicker(first)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ticker.Reset(interval)
		}
		if err := task(ctx); err != nil && ctx.Err() == nil {
			c.metrics.failures.WithLabelValues(name).Inc()
			c.log.ErrorContext(ctx, "background task failed; it is tried again", slog.String("task", name), slog.Any("cause", err))
		}
	}
}

// purge forgets, in small transactions with pauses for others, what expired before the
// retention time. It is fast enough for whoever issues 2,000 certificates a second, and
// gives way where the disk is slow.
func (c *CA) purge(ctx context.Context) error {
	before := c.now().Add(-max(c.cfg.Retention, c.authorities.Load().maxGrace))
	for {
		began := time.Now()
		deleted, err := c.ledger.Purge(ctx, before, purgeBatch)
		if err != nil {
			return fmt.Errorf("purge the ledger: %w", err)
		}
		c.metrics.purged.Add(float64(deleted))
		if deleted < purgeBatch {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(purgePause, purgeShare*time.Since(began))):
		}
	}
}

func (c *CA) forwardChanges(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.publisher.Changed():
			c.announce()
		}
	}
}

// probe remembers the last proof that the ledger can be written, so that asking for
// readiness cannot be used to keep the disk busy.
type probe struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

// proveLedger reports why the ledger cannot be written or read, or nil.
func (c *CA) proveLedger(ctx context.Context) error {
	c.probe.mu.Lock()
	defer c.probe.mu.Unlock()
	if time.Since(c.probe.at) >= probeFresh {
		// The result is for everybody, so nobody's hanging up may spoil it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		c.probe.err, c.probe.at = errors.Join(c.ledger.Probe(ctx), c.readNewest(ctx)), time.Now()
	}
	return c.probe.err
}

// Ready lists why the CA cannot issue and revoke as it should; none means ready. It
// writes to the ledger, at most once a second.
func (c *CA) Ready(ctx context.Context) []string {
	var problems []string
	if err := c.proveLedger(ctx); err != nil {
		problems = append(problems, "the ledger cannot be written: "+err.Error())
	}
	now := c.now()
	if err := c.checkClock(now, c.authorities.Load().active.issuer); err != nil {
		problems = append(problems, err.Error())
	}
	for _, s := range c.authorities.Load().signings {
		if why := c.revokedAbove(s.chain); why != "" {
			problems = append(problems, why+": nothing that issuer "+s.id+" signed is accepted any more; give the CA another issuer")
		}
	}
	if err := c.publisher.Healthy(now); err != nil {
		problems = append(problems, err.Error())
	}
	if issuerID, missing := c.missingResponder(); missing {
		problems = append(problems, "the OCSP responder of issuer "+issuerID+" is not ready")
	}
	if c.missingFeedSigner() {
		problems = append(problems, "the feed of revocations has no signer yet")
	}
	return problems
}
