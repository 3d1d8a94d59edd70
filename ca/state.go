package ca

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
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
	roots := c.authorities.Load().rootsDER
	return api.AgentState{
		ID: peer.ID, Callers: callers, Roots: roots, CRLs: c.otherCRLs(),
		ServerTime: c.now().UTC(), PolicyEpoch: epoch, MaxSilence: api.Duration(service.MaxSilence),
		Versions: c.versions(epoch, roots),
	}, nil
}

// Versions is what the feed announces: another value means that agents have to fetch their
// state anew.
func (c *CA) Versions(ctx context.Context) ([]feed.Version, error) {
	epoch, err := c.ledger.PolicyEpoch(ctx)
	if err != nil {
		return nil, ledgerError(err)
	}
	var list []feed.Version
	for _, v := range c.versions(epoch, c.authorities.Load().rootsDER) {
		list = append(list, feed.Version{Name: v.Name, Value: v.Value})
	}
	return list, nil
}

// versions are of policy, of the roots, and of the CRLs that the feed does not replace.
func (c *CA) versions(epoch uint64, roots [][]byte) []api.Version {
	bundle := sha256.New()
	for _, root := range roots {
		bundle.Write(root)
	}
	crls := sha256.New()
	for _, crl := range c.otherCRLs() {
		fmt.Fprintln(crls, crl.Issuer, crl.Number) //nolint:errcheck // a hash takes everything
	}
	return []api.Version{
		{Name: "policy", Value: strconv.FormatUint(epoch, 10)},
		{Name: "bundle", Value: hex.EncodeToString(bundle.Sum(nil)[:8])},
		{Name: "crls", Value: hex.EncodeToString(crls.Sum(nil)[:8])},
	}
}

// Standing says why a certificate that was authenticated before is refused now, or nil: it is
// revoked or on hold. It looks into memory only, for what is asked thousands of times at
// once; Authenticate looks at everything.
func (c *CA) Standing(issuerID string, serial certs.Serial) error {
	entry, ok := c.publisher.Revoked(issuerID, serial)
	if !ok {
		return nil
	}
	return Certificate{Revocation: &entry}.refused()
}

// Remains is Standing for a peer whose issuer may have been revoked as well: it says why the peer is refused now although
// the Basis is what it was.
func (c *CA) Remains(peer Peer) error {
	if peer.path == nil {
		return errNobody()
	}
	if err := c.authorityRevoked(peer.path.above); err != nil {
		return err
	}
	if s := c.authorities.Load().byID[peer.path.issuer]; s != nil && !slices.Equal(s.chain, peer.path.above) {
		if err := c.authorityRevoked(s.chain); err != nil {
			return err
		}
	}
	return c.Standing(peer.path.issuer, peer.Serial)
}

// Entitled says why a service that Authenticate accepted under another Basis, and that Remains accepts, is refused now: the rest of
// what Authenticate looks at. It needs no certificate, whose octets and signatures are what they were.
func (c *CA) Entitled(ctx context.Context, peer Peer) error {
	if peer.Kind != KindService {
		return refuse(api.CodeForbidden, "use a service's certificate", "%s is not a service", peer.ID)
	}
	if peer.path == nil {
		return errNobody()
	}
	if !c.authorities.Load().trusts(peer.path) {
		return refuse(api.CodeUnavailable, "connect again", "the CA's issuers or roots have changed, and the certificate has to be verified anew")
	}
	_, err := c.registered(ctx, peer.Name)
	return err
}

// Basis is what an answer of Authenticate rests on besides the clock and what Remains looks at: as long as the Basis is
// the same value, a service that was accepted is entitled still. Ask for it before Authenticate.
type Basis struct {
	Policy      uint64 // rises with each change of services
	authorities *authorities
}

// Basis returns what Authenticate's answers rest on now.
func (c *CA) Basis(ctx context.Context) (Basis, error) {
	authorities := c.authorities.Load()
	policy, err := c.ledger.PolicyEpoch(ctx)
	if err != nil {
		return Basis{}, ledgerError(err)
	}
	return Basis{Policy: policy, authorities: authorities}, nil
}

// RevocationOf says whether a certificate is revoked or on hold, exactly: where somebody knows
// a digest of it only. What the ledger does not know is not found, so that it never counts as good.
func (c *CA) RevocationOf(ctx context.Context, issuerID string, serial certs.Serial) (api.RevocationState, error) {
	entry, revoked := c.publisher.Revoked(issuerID, serial)
	if !revoked {
		if c.isAbove(caCertificate{issuerID, serial}) {
			return api.RevocationState{}, nil
		}
		row, err := c.ledger.Certificate(ctx, serial)
		switch {
		case errors.Is(err, ErrNotFound) || err == nil && row.Issuer != issuerID:
			return api.RevocationState{}, refuse(api.CodeNotFound, "", "serial %s of issuer %s is not in the ledger", serial, issuerID)
		case err != nil:
			return api.RevocationState{}, ledgerError(err)
		case row.Revocation == nil:
			return api.RevocationState{}, nil
		}
		entry = *row.Revocation
	}
	return api.RevocationState{Revoked: true, Reason: entry.Reason, At: entry.At, Sequence: entry.Sequence}, nil
}

// otherCRLs are those of issuers that the feed does not cover: the root's, which says which
// issuing CA is revoked.
func (c *CA) otherCRLs() []api.CRLRef {
	covered, refs := c.authorities.Load().byID, []api.CRLRef{}
	for _, crl := range c.publisher.CRLs() {
		if covered[crl.Issuer] == nil {
			refs = append(refs, api.CRLRef{Issuer: crl.Issuer, Number: crl.Number.String()})
		}
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
