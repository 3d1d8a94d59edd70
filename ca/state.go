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

// AgentState is what peer's agent enforces: who may call its service, the roots to trust
// and the CRLs to hold. Callers that are not registered are left out.
func (c *CA) AgentState(ctx context.Context, peer Peer) (api.AgentState, error) {
	if peer.Kind != KindService {
		return api.AgentState{}, refuse(api.CodeForbidden, "use a service's certificate", "%s is not a service", peer.ID)
	}
	// The epoch is read first: a change in between makes the state newer than its epoch,
	// never older, so that nobody keeps an old state for a new one.
	epoch, err := c.ledger.PolicyEpoch(ctx)
	if err != nil {
		return api.AgentState{}, ledgerError(err)
	}
	service, err := c.registered(ctx, peer.Name)
	if err != nil {
		return api.AgentState{}, err
	}
	callers, err := policy.CallerIDs(c.td, service, func(name string) (bool, error) {
		_, err := c.ledger.Service(ctx, name)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return api.AgentState{}, ledgerError(err)
	}
	return api.AgentState{
		ID: peer.ID, Callers: callers, Roots: c.authorities.Load().rootsDER, CRLs: c.crlRefs(),
		ServerTime: c.now().UTC(), PolicyEpoch: epoch,
	}, nil
}

func (c *CA) crlRefs() []api.CRLRef {
	refs := []api.CRLRef{}
	for _, crl := range c.publisher.CRLs() {
		refs = append(refs, api.CRLRef{Issuer: crl.Issuer, Number: crl.Number.String()})
	}
	return refs
}

// Status is the CA's view of itself for actor. Name, Version and StartedAt are the caller's to set.
func (c *CA) Status(ctx context.Context, actor policy.Operator) (api.Status, error) {
	if err := allow(actor, policy.ActionRead, ""); err != nil {
		return api.Status{}, err
	}
	now := c.now().UTC()
	counts, err := c.ledger.Counts(ctx, now)
	if err != nil {
		return api.Status{}, ledgerError(err)
	}
	you, err := c.operatorID(actor.Name)
	if err != nil {
		return api.Status{}, refuse(api.CodeForbidden, "", "%v", err)
	}
	a := c.authorities.Load()
	problems := c.Ready(ctx)
	status := api.Status{
		TrustDomain: c.td.String(), Fingerprint: certs.Fingerprint(a.roots[0]),
		Ready: len(problems) == 0, Problems: problems, ServerTime: now,
		Services: counts.Services, Live: counts.Live, Revoked: counts.Revoked, Held: counts.Held,
		You: you.String(), Role: string(actor.Role),
	}
	for _, s := range a.signings {
		status.Issuers = append(status.Issuers, authorityOf(s.issuer.Certificate()))
	}
	for _, root := range a.roots {
		status.Roots = append(status.Roots, authorityOf(root))
	}
	for _, crl := range c.publisher.CRLs() {
		status.CRLs = append(status.CRLs, api.CRLStatus{
			Issuer: crl.Issuer, Number: crl.Number.String(), Entries: crl.Entries, ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate,
		})
	}
	return status, nil
}

// IssuerCertificate returns the certificate of one of the CA's issuers by its subject key
// identifier, for the address that AIA names.
func (c *CA) IssuerCertificate(issuerID string) (*x509.Certificate, bool) {
	s := c.authorities.Load().byID[issuerID]
	if s == nil {
		return nil, false
	}
	return s.issuer.Certificate(), true
}

func authorityOf(certificate *x509.Certificate) api.Authority {
	return api.Authority{
		Subject: certificate.Subject.String(), KeyID: hexID(certificate.SubjectKeyId), NotAfter: certificate.NotAfter.UTC().Truncate(time.Second),
	}
}
