package ca

import (
	"context"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
)

// Enroll issues the first certificate for what claim proved. csr is PKCS #10 in DER;
// idem is the idempotency key, "" for none. A one-time token is used up in the
// transaction that records the certificate.
func (c *CA) Enroll(ctx context.Context, claim Claim, csr []byte, idem string) (*Issued, error) {
	issued, err := c.enroll(ctx, claim, csr, idem)
	return issued, c.answer(ctx, who{claim.Service, claim.Method, claim.By}, err)
}

func (c *CA) enroll(ctx context.Context, claim Claim, csr []byte, idem string) (*Issued, error) {
	switch claim.Method {
	case MethodToken, MethodJWK, MethodX5C, MethodOIDC:
	default:
		return nil, refuse(api.CodeTokenInvalid, "", "enrolment by %q is not known", claim.Method)
	}
	scope := []string{"enroll", string(claim.Method), claim.Service, claim.By}
	place := uint32(0)
	if claim.OneTime != nil {
		var id string
		place, id = PlaceOf(claim.OneTime.ID)
		scope = append(scope, id)
	}
	key, err := c.idempotent(idem, place, scope, []byte(claim.Service), csr)
	if err != nil {
		return nil, err
	}
	return c.serve(ctx, request{
		service: claim.Service, method: claim.Method, by: claim.By, csr: csr, oneTime: claim.OneTime, idem: key,
	})
}

// Renew issues the next certificate of peer, a service that Authenticate accepted. The
// identity is the peer's; nothing in csr but the key is looked at. The ledger is asked
// again: a revoked, unknown or foreign serial and a removed service are refused.
func (c *CA) Renew(ctx context.Context, peer Peer, csr []byte, idem string) (*Issued, error) {
	issued, err := c.renew(ctx, peer, csr, idem)
	return issued, c.answer(ctx, who{peer.Name, MethodRenew, peer.ID.String()}, err)
}

func (c *CA) renew(ctx context.Context, peer Peer, csr []byte, idem string) (*Issued, error) {
	row, err := c.current(ctx, peer, KindService)
	if err != nil {
		return nil, err
	}
	key, err := c.idempotent(idem, placeOfSerial(row.Serial), []string{"renew", row.Serial.String()}, csr)
	if err != nil {
		return nil, err
	}
	return c.serve(ctx, request{
		service: row.Name, method: MethodRenew, by: row.ID.String(), csr: csr, asking: row.Serial, idem: key,
	})
}

// Issue issues a certificate of a service for an operator: an admin, or an issuer of it.
func (c *CA) Issue(ctx context.Context, actor policy.Operator, r api.IssueRequest, idem string) (*Issued, error) {
	issued, err := c.issue(ctx, actor, r, idem)
	return issued, c.answer(ctx, who{r.Service, MethodOperator, actor.Name}, err)
}

func (c *CA) issue(ctx context.Context, actor policy.Operator, r api.IssueRequest, idem string) (*Issued, error) {
	if err := allow(actor, policy.ActionIssue, r.Service); err != nil {
		return nil, err
	}
	by, err := c.operatorID(actor.Name)
	if err != nil {
		return nil, err
	}
	key, err := c.idempotent(idem, 0, []string{"issue", actor.Name}, []byte(r.Service), r.CSR, []byte(r.TTL.String()))
	if err != nil {
		return nil, err
	}
	return c.serve(ctx, request{
		service: r.Service, method: MethodOperator, by: by.String(), csr: r.CSR, ttl: time.Duration(r.TTL), idem: key,
	})
}

// AuthorizeToken reports whether actor may mint an enrolment token for service, which
// must be registered.
func (c *CA) AuthorizeToken(ctx context.Context, actor policy.Operator, service string) error {
	if err := allow(actor, policy.ActionToken, service); err != nil {
		return err
	}
	_, err := c.registered(ctx, service)
	return err
}

func checkRequestedTTL(ttl, service, lifetime time.Duration) error {
	if service != 0 {
		lifetime = min(lifetime, service)
	}
	if err := policy.CheckTTL(ttl, lifetime); err != nil {
		return refuse(api.CodeRefused, "ask for less, or leave it out", "%v", fmt.Errorf("service: %w", err))
	}
	return nil
}
