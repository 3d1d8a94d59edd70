package ca

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

// syncTimeout bounds how long a revocation waits to be published; it is durable before.
const syncTimeout = 10 * time.Second

// Revoke revokes one certificate, by serial or DER, or every live one of a service or an
// identity, or of all services; with IssuedBefore only what was issued before that time. With
// Issuer it revokes an issuing CA's own certificate, and nothing that it signed is good any more.
// The reason certificateHold puts on hold instead and removeFromCRL releases; every other
// one is final, also for what is on hold. When Revoke returns without an error all
// of it is durable, in one transaction, and OCSP shows it. Certificates that
// have expired within the longest grace count as live, because they could still be
// rekeyed. In a dry run nothing changes. The second result is the last number in the
// revocation log about what was asked for.
func (c *CA) Revoke(ctx context.Context, actor policy.Operator, r api.RevokeRequest) (RevokeOutcome, uint64, error) {
	outcome, err := c.revoke(ctx, actor, r)
	return outcome, outcome.Sequence, c.answer(ctx, who{r.Service, MethodOperator, actor.Name}, err)
}

func (c *CA) revoke(ctx context.Context, actor policy.Operator, r api.RevokeRequest) (RevokeOutcome, error) {
	if err := checkReason(r); err != nil {
		return RevokeOutcome{}, err
	}
	selection, service, err := c.selectRevoked(ctx, r)
	// Who may not revoke it does not learn either whether it exists.
	if denied := allow(actor, policy.ActionRevoke, service); denied != nil {
		return RevokeOutcome{}, denied
	}
	if err != nil {
		return RevokeOutcome{}, err
	}
	by, err := c.operatorID(actor.Name)
	if err != nil {
		return RevokeOutcome{}, refuse(api.CodeForbidden, "", "%v", err)
	}
	if r.Issuer != "" {
		return c.revokeIssuer(ctx, by.String(), selection, r)
	}
	return c.revokeSelected(ctx, by.String(), selection, r.Reason, r.DryRun)
}

// revokeSelected makes the revocation durable, then shows it. It publishes also when
// nothing is new: the time before, publishing may have failed.
func (c *CA) revokeSelected(ctx context.Context, by string, selection RevokeSelection, reason certs.Reason, dryRun bool) (RevokeOutcome, error) {
	now := c.now().UTC().Truncate(time.Second)
	selection.ExpiresAfter = now.Add(-c.authorities.Load().maxGrace)
	outcome, err := c.ledger.Revoke(ctx, selection, reason, now, by, dryRun)
	switch {
	case errors.Is(err, ErrNotFound):
		return RevokeOutcome{}, errSerialUnknown(selection.Serial)
	case errors.Is(err, ErrRevoked):
		return RevokeOutcome{}, refuse(api.CodeConflict, "enrol its service again with a new token", "serial %s is revoked for good: it can be neither put on hold nor released", selection.Serial)
	case errors.Is(err, ErrNotHeld):
		return RevokeOutcome{}, refuse(api.CodeConflict, "", "serial %s is not on hold", selection.Serial)
	case err != nil || dryRun:
		return outcome, ledgerError(err)
	}
	if outcome.Total > 0 {
		c.cfg.Noted(outcome.Sequence, c.now())
	}
	deed := deedOf(reason)
	c.metrics.changed(revocation.KindOf(reason), outcome.Total)
	for _, certificate := range outcome.Revoked {
		c.audit(ctx, deed.done, auditLineOf(&certificate))
	}
	if outcome.Total > 0 {
		c.change(ctx, deed.name, by, selection.String(),
			slog.Int("certificates", outcome.Total), slog.String("reason", reason.String()), slog.Uint64("sequence", outcome.Sequence))
	}
	// It is durable: that the asker hangs up now must not keep it from being published.
	published, cancel := context.WithTimeout(context.WithoutCancel(ctx), syncTimeout)
	defer cancel()
	if err := c.publisher.Sync(published); err != nil {
		return outcome, fault(api.CodeUnavailable, "the "+deed.noun+" is durable, but it is not published yet", "repeat it", err)
	}
	c.replaceRevokedFeedSigner(published)
	c.announce()
	return outcome, nil
}

// deed is what the log calls an event.
type deed struct{ name, done, noun string }

func deedOf(reason certs.Reason) deed {
	switch revocation.KindOf(reason) {
	case revocation.Held:
		return deed{"hold", "held", "hold"}
	case revocation.Released:
		return deed{"release", "released", "release"}
	default:
		return deed{"revoke", "revoked", "revocation"}
	}
}

// checkReason keeps to what can be said of a leaf, or of an issuing CA.
func checkReason(r api.RevokeRequest) error {
	if r.Issuer != "" {
		return checkIssuerReason(r.Reason)
	}
	switch r.Reason {
	case certs.Unspecified, certs.KeyCompromise, certs.AffiliationChanged, certs.Superseded, certs.CessationOfOperation, certs.PrivilegeWithdrawn,
		certs.CertificateHold, certs.RemoveFromCRL:
		return nil
	default:
		return refuse(api.CodeBadRequest, "use keyCompromise, superseded, cessationOfOperation, affiliationChanged, privilegeWithdrawn or unspecified; certificateHold to hold, removeFromCRL to release",
			"reason %s is not for a certificate that is no CA's", r.Reason)
	}
}
