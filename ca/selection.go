package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

// maxAhead is how far in the future a cut-off may lie: the clocks of an operator and the
// CA differ. It catches what was issued until now, whatever it says.
const maxAhead = 5 * time.Minute

// String names the selection in the log of changes.
func (s RevokeSelection) String() string {
	text := s.Service + s.Operator + s.Serial.String()
	if s.AllServices {
		text = "all services"
	}
	if !s.IssuedBefore.IsZero() {
		text += " issued before " + s.IssuedBefore.UTC().Format(time.RFC3339)
	}
	return text
}

// selectRevoked finds what r names and the service it belongs to, "" for none or several:
// only an admin's rights reach there.
func (c *CA) selectRevoked(ctx context.Context, r api.RevokeRequest) (RevokeSelection, string, error) {
	named := 0
	for _, given := range []bool{!r.Serial.IsZero(), len(r.Certificate) > 0, r.Service != "", !r.ID.IsZero(), r.AllServices, r.Issuer != ""} {
		if given {
			named++
		}
	}
	if named != 1 {
		return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "give exactly one of serial, certificate, service, id, issuer and all_services")
	}
	if !r.Serial.IsZero() || len(r.Certificate) > 0 {
		return c.selectOne(ctx, r)
	}
	if r.Issuer != "" {
		selection, err := c.selectIssuer(r)
		return selection, "", err
	}
	cutOff, err := c.cutOff(r)
	if err != nil {
		return RevokeSelection{}, "", err
	}
	switch {
	case r.AllServices:
		return RevokeSelection{AllServices: true, IssuedBefore: cutOff}, "", nil
	case !r.ID.IsZero():
		return c.selectIdentity(r.ID, cutOff)
	default:
		if err := policy.CheckServiceName(r.Service); err != nil {
			return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "%v", err)
		}
		return RevokeSelection{Service: r.Service, IssuedBefore: cutOff}, r.Service, nil
	}
}

// cutOff is r's, up to the next whole second: the ledger keeps whole seconds, and what was
// issued in the same one is rather caught than missed.
func (c *CA) cutOff(r api.RevokeRequest) (time.Time, error) {
	if r.IssuedBefore.IsZero() {
		if r.AllServices {
			return time.Time{}, refuse(api.CodeBadRequest, "give issued_before", "all_services is for a cut-off only")
		}
		return time.Time{}, nil
	}
	if now := c.now(); r.IssuedBefore.After(now.Add(maxAhead)) {
		return time.Time{}, refuse(api.CodeBadRequest, "what will be issued cannot be caught; check both clocks",
			"issued_before %s lies in the future; the CA's clock says %s", r.IssuedBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return r.IssuedBefore.UTC().Add(time.Second - 1).Truncate(time.Second), nil
}

// selectIdentity is every certificate of a service or an operator. The CA's own cannot be
// named like this: without them nobody could reach it to learn of it.
func (c *CA) selectIdentity(id certs.ID, cutOff time.Time) (RevokeSelection, string, error) {
	if id.TrustDomain() != c.td {
		return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "%s is not of the trust domain %s", id, c.td)
	}
	if name := operatorName(id); name != "" {
		if err := policy.CheckOperatorName(name); err != nil {
			return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "%v", err)
		}
		return RevokeSelection{Operator: name, IssuedBefore: cutOff}, "", nil
	}
	if id.IsReserved() {
		return RevokeSelection{}, "", refuse(api.CodeBadRequest, "name one of its certificates by serial", "%s is the CA's own", id)
	}
	if err := policy.CheckServiceName(id.Path()); err != nil {
		return RevokeSelection{}, "", refuse(api.CodeBadRequest, "", "%v", err)
	}
	return RevokeSelection{Service: id.Path(), IssuedBefore: cutOff}, id.Path(), nil
}

func (c *CA) selectOne(ctx context.Context, r api.RevokeRequest) (RevokeSelection, string, error) {
	if len(r.Certificate) > 0 {
		if !r.IssuedBefore.IsZero() {
			return RevokeSelection{}, "", errCutOffOfOne()
		}
		return c.selectCertificate(ctx, r.Certificate)
	}
	row, err := c.ledger.Certificate(ctx, r.Serial)
	switch {
	case errors.Is(err, ErrNotFound):
		return RevokeSelection{}, "", errSerialUnknown(r.Serial)
	case err == nil && !r.IssuedBefore.IsZero():
		return RevokeSelection{}, serviceOf(row), errCutOffOfOne()
	}
	return RevokeSelection{Serial: r.Serial}, serviceOf(row), ledgerError(err)
}

func errCutOffOfOne() error {
	return refuse(api.CodeBadRequest, "leave issued_before out", "issued_before is for the certificates of a service, an identity or all services")
}

func errSerialUnknown(serial certs.Serial) error {
	return refuse(api.CodeNotFound, "give the certificate itself if the ledger was restored from an older backup", "serial %s is not in the ledger", serial)
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
	if id.Path() == policy.FeedPath {
		row.Kind, row.Name = KindFeed, "feed"
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
