package ca

import (
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// checkIssuerReason keeps to what can be said of a CA. It is always final: a CA on hold
// would take everybody's certificates away and give them back again.
func checkIssuerReason(reason certs.Reason) error {
	switch reason {
	case certs.Unspecified, certs.KeyCompromise, certs.CACompromise, certs.AffiliationChanged, certs.Superseded, certs.CessationOfOperation:
		return nil
	default:
		return refuse(api.CodeBadRequest, "use cACompromise, keyCompromise, superseded, cessationOfOperation, affiliationChanged or unspecified",
			"reason %s is not for the certificate of a CA", reason)
	}
}

// selectIssuer is the own certificate of an issuing CA, which is recorded in the ledger with
// its revocation. Nobody but an admin may name it.
func (c *CA) selectIssuer(r api.RevokeRequest) (RevokeSelection, error) {
	if !r.IssuedBefore.IsZero() {
		return RevokeSelection{}, errCutOffOfOne()
	}
	a := c.authorities.Load()
	s := a.byID[r.Issuer]
	if s == nil {
		return RevokeSelection{}, refuse(api.CodeNotFound, "those of this CA are "+strings.Join(slices.Sorted(maps.Keys(a.byID)), ", ")+"; for another one use handfast-ca root-crl --revoke",
			"there is no issuing CA with the key id %q", r.Issuer)
	}
	certificate := s.issuer.Certificate()
	serial, err := certificateSerial(certificate)
	parent := hex.EncodeToString(certificate.AuthorityKeyId)
	if err != nil || parent == "" || parent == s.id {
		return RevokeSelection{}, refuse(api.CodeBadRequest, "distribute another root instead", "issuer %s is a root, which nobody can revoke", s.id)
	}
	row := Certificate{
		Serial: serial, Kind: KindIssuer, Name: s.id, Issuer: parent, Method: MethodInternal, By: "ca",
		NotBefore: certificate.NotBefore.UTC(), NotAfter: certificate.NotAfter.UTC(), IssuedAt: certificate.NotBefore.UTC(), DER: certificate.Raw,
	}
	return RevokeSelection{Serial: serial, Record: &row}, nil
}

// revokeIssuer is revokeSelected, and says how many live certificates it takes away.
func (c *CA) revokeIssuer(ctx context.Context, by string, selection RevokeSelection, r api.RevokeRequest) (RevokeOutcome, error) {
	live := c.now().UTC().Truncate(time.Second).Add(-c.authorities.Load().maxGrace)
	affected, err := c.ledger.Signed(ctx, r.Issuer, live)
	if err != nil {
		return RevokeOutcome{}, ledgerError(err)
	}
	outcome, err := c.revokeSelected(ctx, by, selection, r.Reason, r.DryRun)
	outcome.Affected = affected
	return outcome, err
}

// maySign refuses to sign with an issuer that is revoked. What carries the word of it is
// excepted, the API's certificate, OCSP's responders and the feed's signer: who knows already
// refuses them, and the others learn of it by them.
func (c *CA) maySign(o order) error {
	if o.method == MethodInternal && o.kind != KindOperator {
		return nil
	}
	if why := c.revokedAbove(o.signing.chain); why != "" {
		return refuse(api.CodeUnavailable, "give the CA another issuer", "%s: it signs nothing more", why)
	}
	return nil
}

// isAbove reports whether a certificate is one of this CA's own issuing CAs', which the ledger
// does not know while they are good.
func (c *CA) isAbove(certificate caCertificate) bool {
	for _, s := range c.authorities.Load().signings {
		if slices.Contains(s.chain, certificate) {
			return true
		}
	}
	return false
}
