package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// authorities is a checked and compiled Authorities. It is never changed, only exchanged.
type authorities struct {
	active   *signing
	signings []*signing // the active one first
	byID     map[string]*signing

	roots    []*x509.Certificate
	rootsDER [][]byte
	bundle   *certs.Bundle

	services       map[string]*issuer.Profile // of the active issuer, "" is the default one
	lifetimes      map[string]time.Duration   // of services, for package policy
	operator       *issuer.Profile            // of the active issuer
	server         *issuer.Profile            // of the active issuer
	feed           *issuer.Profile            // of the active issuer
	defaultProfile string
	maxGrace       time.Duration

	verified *verifiedChains
}

// signing is an issuer and what every issuer, active or not, needs.
type signing struct {
	issuer *issuer.Issuer
	id     string
	ocsp   *issuer.Profile
	chain  []caCertificate // its own certificates, without the root
}

func (c *CA) compile(from Authorities) (*authorities, error) {
	if len(from.Issuers) == 0 || len(from.Profiles) == 0 {
		return nil, errors.New("ca: an issuer and a profile are needed at least")
	}
	bundle, err := certs.NewBundle(c.td, from.Roots)
	if err != nil {
		return nil, fmt.Errorf("ca: roots: %w", err)
	}
	a := &authorities{
		byID: make(map[string]*signing, len(from.Issuers)), roots: from.Roots, bundle: bundle,
		services:  make(map[string]*issuer.Profile, len(from.Profiles)),
		lifetimes: make(map[string]time.Duration, len(from.Profiles)),
		verified:  newVerifiedChains(),
	}
	for _, root := range from.Roots {
		a.rootsDER = append(a.rootsDER, root.Raw)
	}
	for _, i := range from.Issuers {
		if err := c.addIssuer(a, i); err != nil {
			return nil, err
		}
	}
	a.active = a.signings[0]
	return a, c.compileActive(a, from)
}

func (c *CA) addIssuer(a *authorities, i *issuer.Issuer) error {
	s := &signing{issuer: i, id: i.ID()}
	if a.byID[s.id] != nil {
		return fmt.Errorf("ca: issuer %s is named twice", s.id)
	}
	var err error
	if s.chain, err = caChain(i.Chain()); err != nil {
		return fmt.Errorf("ca: issuer %s: %w", s.id, err)
	}
	if s.ocsp, err = c.compileProfile(i, issuer.OCSPResponder()); err != nil {
		return fmt.Errorf("ca: issuer %s: OCSP responder's profile: %w", s.id, err)
	}
	a.byID[s.id] = s
	a.signings = append(a.signings, s)
	return nil
}

// compileActive compiles the profiles that only the active issuer signs.
func (c *CA) compileActive(a *authorities, from Authorities) error {
	active := a.active.issuer
	for _, cfg := range from.Profiles {
		if isReservedProfile(cfg.Name) || a.services[cfg.Name] != nil {
			return fmt.Errorf("ca: profile %q: the name is taken; use another one", cfg.Name)
		}
		if !cfg.ClientAuth {
			return fmt.Errorf("ca: profile %q: set client_auth, because a service renews as a TLS client", cfg.Name)
		}
		profile, err := c.compileProfile(active, cfg)
		if err != nil {
			return fmt.Errorf("ca: profile %q: %w", cfg.Name, err)
		}
		a.services[cfg.Name] = profile
		a.lifetimes[cfg.Name] = profile.Lifetime()
		a.maxGrace = max(a.maxGrace, profile.Grace())
	}
	name := from.DefaultProfile
	if name == "" {
		name = from.Profiles[0].Name
	}
	if a.services[name] == nil {
		return fmt.Errorf("ca: the default profile %q is not among the profiles", name)
	}
	a.defaultProfile, a.services[""], a.lifetimes[""] = name, a.services[name], a.lifetimes[name]

	var err error
	if a.operator, err = c.compileProfile(active, issuer.Operator()); err != nil {
		return fmt.Errorf("ca: operators' profile: %w", err)
	}
	if a.server, err = c.compileProfile(active, issuer.Server()); err != nil {
		return fmt.Errorf("ca: API server's profile: %w", err)
	}
	if a.feed, err = c.compileProfile(active, issuer.Feed()); err != nil {
		return fmt.Errorf("ca: profile of the feed's signer: %w", err)
	}
	return nil
}

func (c *CA) compileProfile(i *issuer.Issuer, cfg issuer.ProfileConfig) (*issuer.Profile, error) {
	cfg.TrustDomain = c.td
	urls := c.cfg.URLs(i.ID())
	return i.Compile(cfg, issuer.Endpoints{OCSP: urls.OCSP(), CAIssuers: urls.CAIssuers(), CRL: urls.Shard, FreshestCRL: urls.Delta})
}

// isReservedProfile keeps the built-in profiles' names, and "", for themselves, so that a
// row of the ledger says under which rules it was made.
func isReservedProfile(name string) bool {
	switch name {
	case "", issuer.Operator().Name, issuer.Server().Name, issuer.OCSPResponder().Name, issuer.Feed().Name:
		return true
	default:
		return false
	}
}

// grace is how long after its expiry a certificate of this profile may be rekeyed. A
// profile that is no longer there gives none.
func (a *authorities) grace(profile string) time.Duration {
	if profile == "" || a.services[profile] == nil {
		return 0
	}
	return a.services[profile].Grace()
}

// renewAt is when the holder of a certificate is asked to renew it. The CA's own
// profiles, and one that is gone, ask at two thirds of the life.
func (a *authorities) renewAt(recorded Certificate) time.Time {
	profile := a.services[recorded.Profile]
	if profile == nil {
		profile = a.operator
	}
	return profile.RenewAt(recorded.IssuedAt, recorded.NotBefore, recorded.NotAfter)
}

// issued composes what is handed out with a recorded certificate.
func (a *authorities) issued(recorded Certificate, replayed bool) (*Issued, error) {
	s := a.byID[recorded.Issuer]
	if s == nil {
		return nil, fmt.Errorf("the issuer %s of serial %s is no longer configured", recorded.Issuer, recorded.Serial)
	}
	return &Issued{
		Chain:       append([][]byte{recorded.DER}, s.issuer.Chain()...),
		Roots:       a.rootsDER,
		RenewAfter:  a.renewAt(recorded),
		Grace:       a.grace(recorded.Profile),
		Certificate: recorded,
		Replayed:    replayed,
	}, nil
}
