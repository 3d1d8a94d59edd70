package ca

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// CA issues, renews and revokes. Its methods are safe for concurrent use.
type CA struct {
	td          certs.TrustDomain
	ledger      Ledger
	publisher   Publisher
	log         *slog.Logger
	now         func() time.Time
	metrics     *metrics
	cfg         Config
	authorities atomic.Pointer[authorities]
	exchange    sync.Mutex   // one Exchange or rotation of responders and the feed's signer at a time
	newest      atomic.Int64 // Unix seconds: the newest issuance that is known
	probe       probe
	responders  responders
	feedSigner  atomic.Pointer[feedSigner]
	recent      recentKeys
	plan        plan
}

// New checks cfg, compiles the profiles (some 50 ms each) and reads the ledger's newest
// entry. It issues nothing: see Run.
func New(ctx context.Context, cfg Config) (*CA, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &CA{
		td:        cfg.TrustDomain,
		ledger:    cfg.Ledger,
		publisher: cfg.Publisher,
		log:       cfg.Logger,
		now:       cfg.Now,
		metrics:   newMetrics(cfg.Registerer),
		cfg:       cfg,
	}
	compiled, err := c.compile(Authorities{
		Issuers: cfg.Issuers, Roots: cfg.Roots, Profiles: cfg.Profiles, DefaultProfile: cfg.DefaultProfile,
	})
	if err != nil {
		return nil, err
	}
	c.authorities.Store(compiled)
	if err := c.readNewest(ctx); err != nil {
		return nil, fmt.Errorf("ca: read the ledger's newest certificate: %w", err)
	}
	c.registerState(cfg.Registerer)
	return c, nil
}

// Exchange replaces issuers, roots and profiles at once. Requests under way finish with
// the old ones; none ever mixes the two. On an error the old ones stay.
func (c *CA) Exchange(ctx context.Context, next Authorities) error {
	compiled, err := c.compile(next)
	if err != nil {
		return err
	}
	c.exchange.Lock()
	defer c.exchange.Unlock()
	if err := c.equipResponders(ctx, compiled); err != nil {
		return err
	}
	if err := c.equipFeed(ctx, compiled); err != nil {
		return err
	}
	c.authorities.Store(compiled)
	c.announce()
	return nil
}

// TrustDomain returns the trust domain that the CA vouches for.
func (c *CA) TrustDomain() certs.TrustDomain { return c.td }

// Bundle returns the roots to trust.
func (c *CA) Bundle() api.Bundle {
	return api.Bundle{TrustDomain: c.td.String(), Roots: c.authorities.Load().rootsDER}
}
