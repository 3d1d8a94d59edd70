package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

// syncTimeout bounds how long a revocation waits to be published; it is durable before.
const syncTimeout = 10 * time.Second

// Revoke revokes one certificate, by serial or DER, or every live one of a service. When it
// returns without an error the revocation is durable and OCSP shows it. It is final:
// there is no hold. A service's certificates that have expired within the longest
// grace are revoked too, because they could still be rekeyed. In a dry run nothing changes. The
// second result is the last number in the revocation log about what was asked for.
func (c *CA) Revoke(ctx context.Context, actor policy.Operator, r api.RevokeRequest) (RevokeOutcome, uint64, error) {
	outcome, err := c.revoke(ctx, actor, r)
	return outcome, outcome.Sequence, c.answer(ctx, who{r.Service, MethodOperator, actor.Name}, err)
}

func (c *CA) revoke(ctx context.Context, actor policy.Operator, r api.RevokeRequest) (RevokeOutcome, error) {
	if err := checkReason(r.Reason); err != nil {
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
	return c.revokeSelected(ctx, by.String(), selection, r.Reason, r.DryRun)
}

// revokeSelected makes the revocation durable, then shows it. It publishes also when
// nothing is new: the time before, publishing may have failed.
func (c *CA) revokeSelected(ctx context.Context, by string, selection RevokeSelection, reason certs.Reason, dryRun bool) (RevokeOutcome, error) {
	now := c.now().UTC().Truncate(time.Second)
	selection.ExpiresAfter = now.Add(-c.authorities.Load().maxGrace)
	outcome, err := c.ledger.Revoke(ctx, selection, reason, now, by, dryRun)
	if errors.Is(err, ErrNotFound) {
		return RevokeOutcome{}, refuse(api.CodeNotFound, "give the certificate itself if the ledger was restored from an older backup", "serial %s is not in the ledger", selection.Serial)
	}
	if err != nil || dryRun {
		return outcome, ledgerError(err)
	}
	c.metrics.revoked.Add(float64(outcome.Total))
	for _, revoked := range outcome.Revoked {
		c.audit(ctx, "revoked", revoked)
	}
	if outcome.Total > 0 {
		c.change(ctx, "revoke", by, selection.Service+selection.Operator+selection.Serial.String(),
			slog.Int("certificates", outcome.Total), slog.String("reason", reason.String()), slog.Uint64("sequence", outcome.Sequence))
	}
	// It is durable: that the asker hangs up now must not keep it from being published.
	published, cancel := context.WithTimeout(context.WithoutCancel(ctx), syncTimeout)
	defer cancel()
	if err := c.publisher.Sync(published); err != nil {
		return outcome, fault(api.CodeUnavailable, "the revocation is durable, but it is not published yet", "repeat it", err)
	}
	c.changed.notify()
	return outcome, nil
}

// selectRevoked finds what r names and the service it belongs to, "" for none.
func (c *CA) selectRevoked(ctx context.Context, r api.RevokeRequest) (RevokeSelection, string, error) {
	named := 0
	for _, given := range []bool{!r.Serial.IsZero(), len(r.Certificate) > 0, r.Service != ""} {
		if given {
			named++
		}
	}
	if named != 1 {
		return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "give exactly one of serial, certificate and service")
	}
	switch {
	case r.Service != "":
		if err := policy.CheckServiceName(r.Service); err != nil {
			return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "%v", err)
		}
		return RevokeSelection{Service: r.Service}, r.Service, nil
	case len(r.Certificate) > 0:
		return c.selectCertificate(ctx, r.Certificate)
	default:
		row, err := c.ledger.Certificate(ctx, r.Serial)
		if errors.Is(err, ErrNotFound) {
			return RevokeSelection{}, "", refuse(api.CodeNotFound, "give the certificate itself if the ledger was restored from an older backup", "serial %s is not in the ledger", r.Serial)
		}
		return RevokeSelection{Serial: r.Serial}, serviceOf(row), ledgerError(err)
	}
}

// selectCertificate takes a certificate that one of our issuers signed. The ledger may not
// know it, after a restore; then the revocation records it.
func (c *CA) selectCertificate(ctx context.Context, der []byte) (RevokeSelection, string, error) {
	if len(der) > maxCertificate {
		return RevokeSelection{}, "", refuse(api.CodeTooLarge, "", "the certificate has %d bytes; at most %d are allowed", len(der), maxCertificate)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "the certificate: %v", err)
	}
	serial, err := certificateSerial(certificate)
	if err != nil {
		return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "the certificate: %v", err)
	}
	signer := c.authorities.Load().signerOf(certificate)
	if signer == nil || certificate.IsCA {
		return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "the certificate was not issued by this CA")
	}
	row, err := c.ledger.Certificate(ctx, serial)
	if err == nil {
		if row.Issuer != signer.id {
			return RevokeSelection{}, "", refuse(api.CodeConflict, "", "the ledger holds another issuer's certificate with this serial")
		}
		return RevokeSelection{Serial: serial}, serviceOf(row), nil
	}
	if !errors.Is(err, ErrNotFound) {
		return RevokeSelection{}, "", ledgerError(err)
	}
	row = c.reconstruct(certificate, serial, signer)
	return RevokeSelection{Serial: serial, Record: &row}, serviceOf(row), nil
}

// signerOf returns the issuer whose key signed certificate, or nil.
func (a *authorities) signerOf(certificate *x509.Certificate) *signing {
	for _, s := range a.signings {
		if certificate.CheckSignatureFrom(s.issuer.Certificate()) == nil {
			return s
		}
	}
	return nil
}

// reconstruct is the row of a certificate that the ledger has lost, as far as it tells.
func (c *CA) reconstruct(certificate *x509.Certificate, serial certs.Serial, signer *signing) Certificate {
	row := Certificate{
		Serial: serial, Kind: KindService, Issuer: signer.id, Method: MethodInternal, By: "restored",
		NotBefore: certificate.NotBefore.UTC(), NotAfter: certificate.NotAfter.UTC(), IssuedAt: certificate.NotBefore.UTC(), DER: certificate.Raw,
	}
	id, err := certs.IDFromCertificate(certificate)
	if err != nil {
		row.Kind, row.Name = KindOCSP, "ocsp"
		return row
	}
	row.ID, row.Name = id, id.Path()
	if id.IsReserved() {
		row.Kind, row.Name = KindServer, "ca"
	}
	if name := operatorName(id); name != "" {
		row.Kind, row.Name = KindOperator, name
	}
	return row
}

// serviceOf is what an issuer's right to revoke is measured against: only a service's
// certificate belongs to a service.
func serviceOf(row Certificate) string {
	if row.Kind == KindService {
		return row.Name
	}
	return ""
}

// checkReason keeps to what can be said of a leaf and be final.
func checkReason(reason certs.Reason) error {
	switch reason {
	case certs.Unspecified, certs.KeyCompromise, certs.AffiliationChanged, certs.Superseded, certs.CessationOfOperation, certs.PrivilegeWithdrawn:
		return nil
	default:
		return refuse(api.CodeBadRequest, "use keyCompromise, superseded, cessationOfOperation, affiliationChanged, privilegeWithdrawn or unspecified",
			"reason %s is not for a certificate that is no CA's, or not final", reason)
	}
}
