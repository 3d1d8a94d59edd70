package ca

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

// Authenticate says who chain (leaf first, as the client sent it) stands for. The signatures
// are verified once for a leaf and remembered; validity, the ledger's row, revocation (by
// the root's CRL also of the issuing CA) and whether the service or the operator is still registered are looked at on each call, so
// that a connection that stays open loses its rights as soon as they end.
func (c *CA) Authenticate(ctx context.Context, chain []*x509.Certificate) (Peer, error) {
	if len(chain) == 0 {
		return Peer{}, refuse(api.CodeUnauthenticated, "connect with a client certificate", "the request came without a client certificate")
	}
	now, leaf := c.now(), chain[0]
	if now.After(leaf.NotAfter) {
		return Peer{}, refuse(api.CodeExpired, "rekey within the grace, or enrol again", "the client certificate expired at %s; the CA's clock says %s",
			leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	verified, err := c.authorities.Load().verify(chain, now)
	if err != nil {
		return Peer{}, err
	}
	if err := c.authorityRevoked(verified.path.above); err != nil {
		return Peer{}, err
	}
	row, err := c.row(ctx, leaf, verified.path.issuer)
	if err != nil {
		return Peer{}, err
	}
	peer := Peer{ID: row.ID, Kind: row.Kind, Name: row.Name, Certificate: leaf, Serial: row.Serial, path: verified.path}
	return peer, c.entitled(ctx, row)
}

// current is Authenticate's second half for a peer that was accepted before: its row as the
// ledger has it now.
func (c *CA) current(ctx context.Context, peer Peer, kind Kind) (Certificate, error) {
	if peer.Certificate == nil {
		return Certificate{}, errNobody()
	}
	row, err := c.row(ctx, peer.Certificate, hex.EncodeToString(peer.Certificate.AuthorityKeyId))
	if err != nil {
		return Certificate{}, err
	}
	if row.Kind != kind || row.ID != peer.ID {
		return Certificate{}, refuse(api.CodeForbidden, "", "a certificate of kind %s (%s) cannot be renewed here", row.Kind, row.ID)
	}
	if now := c.now(); now.After(row.NotAfter) {
		return Certificate{}, refuse(api.CodeExpired, "rekey within the grace, or enrol again", "the client certificate has expired")
	}
	return row, c.entitled(ctx, row)
}

// row finds the certificate in the ledger. It must be the very one that was recorded, to
// the byte, under the same issuer, and neither revoked nor on hold.
func (c *CA) row(ctx context.Context, leaf *x509.Certificate, issuerID string) (Certificate, error) {
	serial, err := certs.SerialFromInt(leaf.SerialNumber)
	if err != nil {
		return Certificate{}, refuse(api.CodeUnauthenticated, "", "the client certificate's serial: %v", err)
	}
	if s := c.authorities.Load().byID[issuerID]; s != nil {
		if err := c.authorityRevoked(s.chain); err != nil {
			return Certificate{}, err
		}
	}
	row, err := c.ledger.Certificate(ctx, serial)
	if errors.Is(err, ErrNotFound) {
		return Certificate{}, errForeign("its serial is not in the ledger")
	}
	if err != nil {
		return Certificate{}, ledgerError(err)
	}
	if row.Issuer != issuerID || !bytes.Equal(row.DER, leaf.Raw) {
		return Certificate{}, errForeign("the ledger holds another certificate with this serial")
	}
	id, err := certs.IDFromCertificate(leaf)
	if err != nil || id != row.ID || id.TrustDomain() != c.td {
		return Certificate{}, errForeign("its identity is not the recorded one")
	}
	if err := row.refused(); err != nil {
		return Certificate{}, err
	}
	return row, nil
}

// entitled looks whether the identity still exists. Only services and operators are clients.
func (c *CA) entitled(ctx context.Context, row Certificate) error {
	switch row.Kind {
	case KindService:
		if row.ID.IsReserved() || row.ID.Path() != row.Name {
			return errForeign("its identity is not a service's")
		}
		_, err := c.registered(ctx, row.Name)
		return err
	case KindOperator:
		if row.ID.Path() != policy.OperatorPathPrefix+row.Name {
			return errForeign("its identity is not an operator's")
		}
		_, err := c.operator(ctx, row.Name)
		return err
	default:
		return refuse(api.CodeForbidden, "", "a certificate of kind %s is no client", row.Kind)
	}
}

// Operator returns the operator behind peer, with the role of now.
func (c *CA) Operator(ctx context.Context, peer Peer) (policy.Operator, error) {
	if peer.Kind != KindOperator {
		return policy.Operator{}, refuse(api.CodeForbidden, "use an operator's certificate", "%s is not an operator", peer.ID)
	}
	return c.operator(ctx, peer.Name)
}

func (c *CA) operator(ctx context.Context, name string) (policy.Operator, error) {
	operator, err := c.ledger.Operator(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return policy.Operator{}, refuse(api.CodeForbidden, "an admin can add it", "operator %s is not registered", name)
	}
	return operator, ledgerError(err)
}

// registered returns the service, or CodeServiceUnknown.
func (c *CA) registered(ctx context.Context, name string) (policy.Service, error) {
	if err := policy.CheckServiceName(name); err != nil {
		return policy.Service{}, refuse(api.CodeBadRequest, "", "%v", err)
	}
	service, err := c.ledger.Service(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return policy.Service{}, errServiceUnknown(name)
	}
	return service, ledgerError(err)
}

func (c *CA) serviceID(name string) (certs.ID, error)  { return policy.ServiceID(c.td, name) }
func (c *CA) operatorID(name string) (certs.ID, error) { return policy.OperatorID(c.td, name) }

// errNobody is for a Peer that Authenticate did not return.
func errNobody() error {
	return refuse(api.CodeUnauthenticated, "connect with a client certificate", "nobody was authenticated")
}

func errForeign(why string) error {
	return refuse(api.CodeUnauthenticated, "enrol with a new token", "the client certificate is not one of this CA's: %s", why)
}

const maxVerifiedChains = 8192

// verifiedChains remembers whose signatures were verified under one authorities value.
type verifiedChains struct {
	mu     sync.Mutex
	byLeaf map[[sha256.Size]byte]verifiedChain
	paths  map[string]*path // by issuer: one for thousands of certificates
}

type verifiedChain struct {
	path                *path
	notBefore, notAfter time.Time // in which the whole chain is valid
}

func newVerifiedChains() *verifiedChains {
	return &verifiedChains{byLeaf: make(map[[sha256.Size]byte]verifiedChain), paths: make(map[string]*path)}
}

// share returns the path that others have already, or keeps p for them. v.mu is held.
func (v *verifiedChains) share(p *path) *path {
	known := v.paths[p.issuer]
	switch {
	case known == nil:
		v.paths[p.issuer] = p // an issuer of ours
	case known.equal(p):
		return known
	}
	return p
}

// verify checks chain up to the roots; its issuer is one of ours.
func (a *authorities) verify(chain []*x509.Certificate, now time.Time) (verifiedChain, error) {
	key := sha256.Sum256(chain[0].Raw)
	a.verified.mu.Lock()
	known, ok := a.verified.byLeaf[key]
	a.verified.mu.Unlock()
	if ok && !now.Before(known.notBefore) && !now.After(known.notAfter) {
		return known, nil
	}
	fresh, err := a.verifyFresh(chain, now)
	if err != nil {
		return verifiedChain{}, err
	}
	a.verified.mu.Lock()
	defer a.verified.mu.Unlock()
	fresh.path = a.verified.share(fresh.path)
	for victim := range a.verified.byLeaf {
		if len(a.verified.byLeaf) < maxVerifiedChains {
			break
		}
		delete(a.verified.byLeaf, victim)
	}
	a.verified.byLeaf[key] = fresh
	return fresh, nil
}

func (a *authorities) verifyFresh(chain []*x509.Certificate, now time.Time) (verifiedChain, error) {
	verified, err := certs.VerifyChain(chain, a.bundle, x509.ExtKeyUsageClientAuth, now)
	if err != nil {
		return verifiedChain{}, refuse(api.CodeUnauthenticated, "check that it is this CA's, and both clocks", "the client certificate does not verify: %v", err)
	}
	if len(verified) < 2 {
		return verifiedChain{}, errForeign("a root is no client")
	}
	path, err := newPath(verified)
	if err != nil {
		return verifiedChain{}, errForeign(err.Error())
	}
	if !a.knows(path) {
		return verifiedChain{}, errForeign("its issuer is not one of this CA's")
	}
	result := verifiedChain{path: path, notBefore: chain[0].NotBefore, notAfter: chain[0].NotAfter}
	for _, link := range verified {
		if link.NotBefore.After(result.notBefore) {
			result.notBefore = link.NotBefore
		}
		if link.NotAfter.Before(result.notAfter) {
			result.notAfter = link.NotAfter
		}
	}
	return result, nil
}

// operatorName is the operator's name in an identity, or "".
func operatorName(id certs.ID) string {
	name, ok := strings.CutPrefix(id.Path(), policy.OperatorPathPrefix)
	if !ok {
		return ""
	}
	return name
}
