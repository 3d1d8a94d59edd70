package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// Feed tells agents of changes as they happen. *broadcast.Broadcaster is one. Its methods
// are safe for concurrent use and never wait.
type Feed interface {
	// SetSigner sets who signs from now on: a key, and its certificate's chain without the
	// root, leaf first. With a nil key the feed is silent.
	SetSigner(key crypto.Signer, chain []*x509.Certificate)
	// Notify says that something may be new. What it is about is durable.
	Notify()
}

// feedSigner is what is known of the feed's signer. It never changes.
type feedSigner struct {
	issuer  string
	serial  certs.Serial
	renewAt time.Time
}

// RotateFeedSigner gives the feed a signer, unless it has one of the active issuer that is in
// the first half of its life and not revoked. The certificate is in the ledger before the key is
// used; the key lives in memory only, so that nobody can take it from a disk.
func (c *CA) RotateFeedSigner(ctx context.Context) error {
	c.exchange.Lock()
	defer c.exchange.Unlock()
	return c.equipFeed(ctx, c.authorities.Load())
}

// equipFeed is RotateFeedSigner for a. The caller holds c.exchange.
func (c *CA) equipFeed(ctx context.Context, a *authorities) error {
	if c.cfg.Feed == nil {
		return nil
	}
	known, revoked := c.feedSigner.Load(), c.feedSignerRevoked()
	if known != nil && known.issuer == a.active.id && c.now().Before(known.renewAt) && !revoked {
		return nil
	}
	if err := c.newFeedSigner(ctx, a); err != nil {
		if revoked { // what it signed is refused: better that the feed says nothing
			c.feedSigner.Store(nil)
			c.cfg.Feed.SetSigner(nil, nil)
		}
		return fmt.Errorf("the feed's signer: %w", err)
	}
	return nil
}

func (c *CA) newFeedSigner(ctx context.Context, a *authorities) error {
	key, err := issuer.GenerateKey(issuer.ECDSAP256)
	if err != nil {
		return err
	}
	id, err := c.td.ID(policy.FeedPath)
	if err != nil {
		return err
	}
	recorded, err := c.issueOwn(ctx, a.active, a.feed, order{kind: KindFeed, name: "feed", id: id}, key)
	if err != nil {
		return err
	}
	var chain []*x509.Certificate
	for _, der := range append([][]byte{recorded.DER}, a.active.issuer.Chain()...) {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		chain = append(chain, certificate)
	}
	c.cfg.Feed.SetSigner(key, chain)
	c.feedSigner.Store(&feedSigner{
		issuer: recorded.Issuer, serial: recorded.Serial,
		renewAt: recorded.NotBefore.Add(recorded.NotAfter.Sub(recorded.NotBefore) / 2),
	})
	return nil
}

func (c *CA) feedSignerRevoked() bool {
	known := c.feedSigner.Load()
	if known == nil {
		return false
	}
	_, revoked := c.publisher.Revoked(known.issuer, known.serial)
	return revoked
}

// replaceRevokedFeedSigner makes another signer when the one of now has just been revoked, so
// that the word of it comes from one who is believed. The revocation stands in any case.
func (c *CA) replaceRevokedFeedSigner(ctx context.Context) {
	if !c.feedSignerRevoked() {
		return
	}
	c.exchange.Lock()
	defer c.exchange.Unlock()
	if err := c.equipFeed(ctx, c.authorities.Load()); err != nil {
		c.metrics.failures.WithLabelValues(taskFeedSigner).Inc()
		c.log.ErrorContext(ctx, "the feed is silent until there is another signer; that is tried again", slog.Any("cause", err))
	}
}

// missingFeedSigner reports whether the feed lacks a signer that it should have.
func (c *CA) missingFeedSigner() bool { return c.cfg.Feed != nil && c.feedSigner.Load() == nil }

// announce tells everybody who follows that something may be new.
func (c *CA) announce() {
	if c.cfg.Feed != nil {
		c.cfg.Feed.Notify()
	}
}

// Issuers are the key identifiers of the issuers whose certificates the feed covers.
func (c *CA) Issuers() []string {
	a := c.authorities.Load()
	ids := make([]string, 0, len(a.signings))
	for _, s := range a.signings {
		ids = append(ids, s.id)
	}
	return ids
}
