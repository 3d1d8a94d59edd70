package ca

import (
	"context"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/issuer"
)

// checkClock refuses to issue while the clock cannot be right: behind what the ledger has
// recorded already, or outside of the issuer's validity.
func (c *CA) checkClock(now time.Time, i *issuer.Issuer) error {
	certificate := i.Certificate()
	switch newest := time.Unix(c.newest.Load(), 0).UTC(); {
	case !c.cfg.AcceptClock && now.Before(newest.Add(-maxClockStep)):
		return refuse(api.CodeUnavailable, "set the CA's clock; if it ran ahead before and is right now, start the CA so that it accepts it",
			"the CA's clock says %s, but the newest certificate was issued at %s", now.UTC().Format(time.RFC3339), newest.Format(time.RFC3339))
	case now.Before(certificate.NotBefore):
		return refuse(api.CodeUnavailable, "set the CA's clock", "the CA's clock says %s, but its issuer is valid from %s",
			now.UTC().Format(time.RFC3339), certificate.NotBefore.UTC().Format(time.RFC3339))
	case !now.Before(certificate.NotAfter):
		return refuse(api.CodeUnavailable, "set the CA's clock, or give it a new issuer", "the CA's clock says %s, but its issuer expired at %s",
			now.UTC().Format(time.RFC3339), certificate.NotAfter.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}

// recent is how many certificates readNewest looks at: they stand in the order of their
// record, and a clock that goes back within maxClockStep puts them out of the order of time.
const recent = 64

// readNewest learns when the newest certificate was issued; another replica may have.
func (c *CA) readNewest(ctx context.Context) error {
	page, _, err := c.ledger.Certificates(ctx, CertificateQuery{Limit: recent, Now: c.now()})
	if err != nil {
		return err
	}
	for _, certificate := range page {
		c.sawIssuance(certificate.IssuedAt)
	}
	return nil
}

// sawIssuance moves the newest issuance forward, never back.
func (c *CA) sawIssuance(at time.Time) {
	for {
		known := c.newest.Load()
		if at.Unix() <= known || c.newest.CompareAndSwap(known, at.Unix()) {
			return
		}
	}
}
