package ca

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/issuer"
)

// responders remembers when each issuer's OCSP responder is to be replaced.
type responders struct {
	mu      sync.Mutex
	renewAt map[string]time.Time
}

func (r *responders) get(issuerID string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.renewAt[issuerID]
}

func (r *responders) set(issuerID string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.renewAt == nil {
		r.renewAt = make(map[string]time.Time)
	}
	r.renewAt[issuerID] = at
}

// RotateResponders makes what OCSP responders are missing or past half of their life.
// Each one's certificate is in the ledger before the responder is used.
func (c *CA) RotateResponders(ctx context.Context) error {
	c.exchange.Lock()
	defer c.exchange.Unlock()
	return c.equipResponders(ctx, c.authorities.Load())
}

// equipResponders gives every issuer of a an OCSP responder, unless it has one whose
// certificate is in the first half of its life. The caller holds c.exchange.
func (c *CA) equipResponders(ctx context.Context, a *authorities) error {
	for _, s := range a.signings {
		if c.now().Before(c.responders.get(s.id)) {
			continue
		}
		renewAt, err := c.equipResponder(ctx, s)
		if err != nil {
			return fmt.Errorf("OCSP responder of issuer %s: %w", s.id, err)
		}
		c.responders.set(s.id, renewAt)
	}
	return nil
}

func (c *CA) equipResponder(ctx context.Context, s *signing) (renewAt time.Time, err error) {
	key, err := issuer.NewResponderKey(c.cfg.ResponderAlgorithm)
	if err != nil {
		return time.Time{}, err
	}
	id, err := c.td.ID(policy.ResponderPath)
	if err != nil {
		return time.Time{}, err
	}
	recorded, err := c.issueOwn(ctx, s, s.ocsp, order{kind: KindOCSP, name: "ocsp", id: id}, key)
	if err != nil {
		return time.Time{}, err
	}
	responder, err := issuer.NewResponder(key, recorded.DER)
	if err != nil {
		return time.Time{}, err
	}
	c.publisher.SetResponder(s.id, responder)
	return recorded.NotBefore.Add(recorded.NotAfter.Sub(recorded.NotBefore) / 2), nil
}

// missingResponder names an issuer for which nobody answers OCSP.
func (c *CA) missingResponder() (issuerID string, missing bool) {
	for _, s := range c.authorities.Load().signings {
		if c.responders.get(s.id).IsZero() {
			return s.id, true
		}
	}
	return "", false
}
