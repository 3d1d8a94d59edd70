package server

import (
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/revocation"
)

// wireCertificate shows a row without its DER. A revoked certificate stays "revoked" after its expiry.
func wireCertificate(row *ca.Certificate, now time.Time) api.Certificate {
	wire := api.Certificate{
		Serial: row.Serial, Kind: string(row.Kind), Service: row.Name, ID: row.ID, Issuer: row.Issuer,
		Profile: row.Profile, NotBefore: row.NotBefore.UTC(), NotAfter: row.NotAfter.UTC(), IssuedAt: row.IssuedAt.UTC(),
		Method: string(row.Method), Status: ca.StatusValid,
	}
	if now.After(row.NotAfter) {
		wire.Status = ca.StatusExpired
	}
	if row.Revocation != nil {
		at := row.Revocation.At.UTC()
		wire.Status, wire.RevokedAt, wire.Reason = ca.StatusRevoked, &at, row.Revocation.Reason.String()
		if row.Revocation.Kind == revocation.Held {
			wire.Status = ca.StatusHeld
		}
	}
	if leaf, err := x509.ParseCertificate(row.DER); err == nil {
		wire.DNSNames = leaf.DNSNames
		for _, ip := range leaf.IPAddresses {
			wire.IPs = append(wire.IPs, ip.String())
		}
	}
	return wire
}

func (s *Server) wireOperator(o policy.Operator) (api.Operator, error) {
	id, err := policy.OperatorID(s.cfg.CA.TrustDomain(), o.Name)
	if err != nil {
		return api.Operator{}, err
	}
	return api.Operator{Name: o.Name, ID: id, Role: string(o.Role), Services: o.Services, Created: o.Created.UTC()}, nil
}

func (s *Server) wireService(row policy.Service) (api.Service, error) {
	id, err := policy.ServiceID(s.cfg.CA.TrustDomain(), row.Name)
	if err != nil {
		return api.Service{}, err
	}
	wire := api.Service{
		Name: row.Name, ID: id, DNSNames: row.DNSNames, Callers: row.Callers, Profile: row.Profile,
		TTL: api.Duration(row.TTL), MaxSilence: api.Duration(row.MaxSilence), Version: row.Version, Created: row.Created.UTC(), Updated: row.Updated.UTC(),
	}
	for _, ip := range row.IPs {
		wire.IPs = append(wire.IPs, ip.String())
	}
	return wire, nil
}

// askedService takes what a caller may set. What the CA sets (version, times) is
// ignored, so that a listing can be sent back; an identity that is not the name's is refused.
func (s *Server) askedService(wire api.Service) (policy.Service, error) {
	id, err := policy.ServiceID(s.cfg.CA.TrustDomain(), wire.Name)
	if err != nil {
		return policy.Service{}, badRequest("%v", err)
	}
	if !wire.ID.IsZero() && wire.ID != id {
		return policy.Service{}, badRequest("service %s has the identity %s, not %s", wire.Name, id, wire.ID)
	}
	asked := policy.Service{
		Name: wire.Name, DNSNames: wire.DNSNames, Callers: wire.Callers, Profile: wire.Profile, TTL: time.Duration(wire.TTL), MaxSilence: time.Duration(wire.MaxSilence),
	}
	for _, text := range wire.IPs {
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" {
			return policy.Service{}, badRequest("service %s: %.60q is not an IP address", wire.Name, text)
		}
		asked.IPs = append(asked.IPs, ip)
	}
	return asked, nil
}

func wireApplied(applied ca.Applied, dryRun bool) api.ApplyResult {
	return api.ApplyResult{
		Created: list(applied.Created), Updated: list(applied.Updated),
		Unchanged: list(applied.Unchanged), Removed: list(applied.Removed), DryRun: dryRun,
	}
}

// list makes an empty JSON array of nil, never null.
func list(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}
