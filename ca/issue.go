package ca

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// order is one certificate that was decided on: what it holds, and what its record uses up
// and rests on.
type order struct {
	kind        Kind
	method      Method
	name        string
	by          string
	id          certs.ID
	dns         []string
	ips         []netip.Addr
	ttl         time.Duration // 0 is the profile's
	key         issuer.PublicKey
	signing     *signing
	profile     *issuer.Profile
	oneTime     *OneTime
	idempotency *Idempotency
	guard       Guard
}

// fulfil drafts, checks, signs and records, in this order. What it returns is durable; on
// an error nothing may leave. A serial that exists already (2^-120, or a broken source
// of randomness) is tried again once.
func (c *CA) fulfil(ctx context.Context, o order) (Certificate, bool, error) {
	recorded, replayed, err := c.fulfilOnce(ctx, o)
	if errors.Is(err, ErrSerialExists) {
		c.log.WarnContext(ctx, "a fresh serial exists already; trying once more")
		recorded, replayed, err = c.fulfilOnce(ctx, o)
	}
	return recorded, replayed, err
}

func (c *CA) fulfilOnce(ctx context.Context, o order) (Certificate, bool, error) {
	began := time.Now()
	now := c.now()
	if err := c.checkClock(now, o.signing.issuer); err != nil {
		return Certificate{}, false, err
	}
	if err := c.maySign(o); err != nil {
		return Certificate{}, false, err
	}
	signed, line, err := c.sign(ctx, o, now)
	if err != nil {
		return Certificate{}, false, err
	}
	guard := o.guard
	guard.Key = o.key.Digest()
	recorded, replayed, err := c.ledger.RecordIssuance(ctx, Issuance{
		Certificate: signed, OneTime: o.oneTime, Idempotency: o.idempotency, Guard: guard,
	})
	if err != nil {
		return Certificate{}, false, fmt.Errorf("record serial %s: %w", signed.Serial, err)
	}
	if !replayed {
		c.sawIssuance(recorded.IssuedAt)
		c.metrics.recorded(recorded, time.Since(began))
		c.audit(ctx, "issued", line)
	}
	return recorded, replayed, nil
}

// sign makes the certificate. Until its record is durable it must not leave fulfilOnce. What the log says of it
// before the signature, it says again of the record.
func (c *CA) sign(ctx context.Context, o order, now time.Time) (Certificate, *auditLine, error) {
	draft, err := o.profile.Draft(issuer.Subject{ID: o.id, DNSNames: o.dns, IPs: o.ips, Key: o.key, TTL: o.ttl}, now)
	if err != nil {
		return Certificate{}, nil, draftError(o.id, err)
	}
	checked, err := draft.Check()
	if err != nil {
		return Certificate{}, nil, errSigning("check the draft of", o.id, err)
	}
	certificate := Certificate{
		Kind: o.kind, Name: o.name, ID: o.id, Issuer: o.signing.id, Profile: o.profile.Name(),
		Method: o.method, By: o.by, IssuedAt: now.UTC().Truncate(time.Second),
		Serial: draft.Serial(), NotAfter: draft.NotAfter(),
	}
	line := auditLineOf(&certificate)
	c.audit(ctx, "issuing", line)
	signed, err := o.signing.issuer.Sign(checked)
	if err != nil {
		return Certificate{}, nil, errSigning("sign", o.id, err)
	}
	certificate.Serial, certificate.DER = signed.Serial, signed.DER
	certificate.NotBefore, certificate.NotAfter = signed.NotBefore, signed.NotAfter
	return certificate, line, nil
}

// request is what every door that issues for a service comes down to, once it knows who asks.
type request struct {
	service string
	method  Method
	by      string
	csr     []byte
	ttl     time.Duration // 0: what policy says; else no longer than that
	oneTime *OneTime
	asking  certs.Serial // the certificate that asks; zero for tokens and operators
	idem    *Idempotency
}

// serve answers a repetition with what the first request led to, and any other by deciding
// and fulfilling. The ledger finds a repetition when it records; one that came lately is
// looked up before that, and so is one that would be refused now: the answer that was
// given stays. A service that changes between decision and record is decided on again, once.
func (c *CA) serve(ctx context.Context, r request) (*Issued, error) {
	a := c.authorities.Load()
	if c.recent.seen(r.idem) {
		if issued, err := c.replay(ctx, a, r.idem); issued != nil || err != nil {
			return issued, err
		}
	}
	issued, err := c.serveNew(ctx, a, r)
	if _, refused := errors.AsType[*api.Error](err); !refused {
		return issued, err // what the ledger says of a record is about repetitions too
	}
	if issued, err := c.replay(ctx, a, r.idem); issued != nil || err != nil {
		return issued, err
	}
	return nil, err
}

func (c *CA) serveNew(ctx context.Context, a *authorities, r request) (*Issued, error) {
	if len(r.csr) > api.MaxCSR {
		return nil, refuse(api.CodeTooLarge, "", "the CSR has %d bytes; at most %d are allowed", len(r.csr), api.MaxCSR)
	}
	recorded, replayed, err := c.decideAndFulfil(ctx, a, r)
	if errors.Is(err, ErrConflict) {
		recorded, replayed, err = c.decideAndFulfil(ctx, a, r)
	}
	if errors.Is(err, ErrConflict) {
		return nil, refuse(api.CodeUnavailable, "repeat it", "service %s was changed while the certificate was made", r.service)
	}
	if err != nil {
		return nil, err
	}
	issued, err := a.handOut(recorded, replayed)
	if err == nil && !replayed {
		issued.RenewAfter = c.plan.place(recorded.IssuedAt, issued.RenewAfter)
	}
	return issued, err
}

func (c *CA) decideAndFulfil(ctx context.Context, a *authorities, r request) (Certificate, bool, error) {
	o, err := c.decide(ctx, a, r)
	if err != nil {
		return Certificate{}, false, err
	}
	return c.fulfil(ctx, o)
}

// decide applies policy: every name comes from the registered service, nothing but the
// key from the CSR.
func (c *CA) decide(ctx context.Context, a *authorities, r request) (order, error) {
	service, err := c.registered(ctx, r.service)
	if err != nil {
		return order{}, err
	}
	id, err := c.serviceID(service.Name)
	if err != nil {
		return order{}, err
	}
	profile := a.services[service.Profile]
	if profile == nil {
		return order{}, refuse(api.CodeRefused, "an admin can give it another one: handfast service add", "service %s asks for the profile %q, which is no longer there", service.Name, service.Profile)
	}
	ttl := service.TTL
	if r.ttl != 0 {
		if err := checkRequestedTTL(r.ttl, service.TTL, profile.Lifetime()); err != nil {
			return order{}, err
		}
		ttl = r.ttl
	}
	key, err := issuer.ParseCSR(r.csr)
	if err != nil {
		return order{}, csrError(err)
	}
	return order{
		kind: KindService, method: r.method, name: service.Name, by: r.by, id: id,
		dns: service.DNSNames, ips: service.IPs, ttl: ttl, key: key, signing: a.active, profile: profile,
		oneTime: r.oneTime, idempotency: r.idem,
		guard: Guard{Serial: r.asking, Service: service.Name, ServiceVersion: service.Version},
	}, nil
}

// handOut refuses what was revoked or held since it was recorded: a replay never brings it back.
func (a *authorities) handOut(recorded Certificate, replayed bool) (*Issued, error) {
	if err := recorded.refused(); err != nil {
		return nil, err
	}
	return a.issued(recorded, replayed)
}

func errSigning(step string, id certs.ID, cause error) error {
	return fault(api.CodeInternal, "the CA could not make the certificate", "its log says why", fmt.Errorf("%s the certificate for %s: %w", step, id, cause))
}

// draftError tells what the asker can mend from what only the CA can.
func draftError(id certs.ID, err error) error {
	switch {
	case errors.Is(err, issuer.ErrWeakKey):
		return csrError(err)
	case errors.Is(err, issuer.ErrSubject):
		return refuse(api.CodeRefused, "an admin can change the service or the profile", "%v", err)
	case errors.Is(err, issuer.ErrClock), errors.Is(err, issuer.ErrIssuerExpired):
		return refuse(api.CodeUnavailable, "set the CA's clock, or give it a new issuer", "%v", err)
	default:
		return errSigning("draft", id, err)
	}
}
