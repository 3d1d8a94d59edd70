package issuer

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handfast/handfast/certs"
)

// Profile is a validated profile of one issuer, ready to draft certificates. It is
// immutable and safe for concurrent use. It comes only from [Issuer.Compile].
type Profile struct {
	issuer    *Issuer
	config    ProfileConfig
	endpoints Endpoints
	parts     constantParts
	linter    linter
}

// Name returns the profile's name.
func (p *Profile) Name() string { return p.config.Name }

// Lifetime returns how long a certificate is valid from its issuance, at most.
func (p *Profile) Lifetime() time.Duration { return p.config.Lifetime }

// Grace returns for how long after its expiry a certificate may be exchanged for a new one.
func (p *Profile) Grace() time.Duration { return p.config.Grace }

// RenewAt returns when an agent is asked to renew a certificate that was issued at
// issued and is valid from notBefore to notAfter, in whole seconds.
func (p *Profile) RenewAt(issued, notBefore, notAfter time.Time) time.Time {
	at := notBefore.Add(notAfter.Sub(notBefore) * 2 / 3)
	// A lifetime that was cut short, by a service's ttl or by the issuer's end, keeps two thirds.
	if early := issued.Add(p.config.RenewAfter); p.config.RenewAfter > 0 && early.Before(at) {
		at = early
	}
	return at.Truncate(time.Second)
}

// Issuer returns the issuer that the profile was compiled for.
func (p *Profile) Issuer() *Issuer { return p.issuer }

// Compile validates cfg and proves that what it can produce is sound: it drafts a
// probe of each shape (kinds of key, with and without DNS names, addresses and a
// common name), checks it and lints it with zlint. A profile with a finding is refused.
//
// It takes up to some 50 ms: compile at start and when the configuration changes, never per request.
func (i *Issuer) Compile(cfg ProfileConfig, e Endpoints) (*Profile, error) {
	config, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("profile %q: %w", cfg.Name, err)
	}
	if e, err = e.validate(config); err != nil {
		return nil, fmt.Errorf("profile %q: %w", cfg.Name, err)
	}
	p := &Profile{issuer: i, config: config, endpoints: e}
	if p.parts, err = p.encodeConstantParts(); err != nil {
		return nil, fmt.Errorf("profile %q: %w", cfg.Name, err)
	}
	if p.linter, err = newLinter(); err != nil {
		return nil, fmt.Errorf("profile %q: %w", cfg.Name, err)
	}
	if err := p.lintProbes(); err != nil {
		return nil, fmt.Errorf("profile %q: a certificate of it would be unsound: %w", cfg.Name, err)
	}
	return p, nil
}

// validate also drops what certificates of c must not carry.
func (e Endpoints) validate(c ProfileConfig) (Endpoints, error) {
	if c.OCSPSigning {
		// RFC 6960, section 4.2.2.2.1: nocheck says that there is nothing to look up.
		e.OCSP, e.CRL, e.FreshestCRL = "", nil, nil
	}
	probe, err := certs.SerialFromBytes(slices.Repeat([]byte{0x5a}, certs.MaxSerialOctets))
	if err != nil {
		return e, err
	}
	if e.CRL != nil && e.CRL(probe) == "" {
		e.CRL = nil
	}
	if e.FreshestCRL != nil && e.FreshestCRL(probe) == "" {
		e.FreshestCRL = nil
	}
	if e.FreshestCRL != nil && e.CRL == nil {
		return e, errors.New("a delta CRL without a CRL that it belongs to")
	}
	if c.MustStaple && e.OCSP == "" {
		return e, errors.New("must_staple without an OCSP responder to fetch staples from")
	}
	var urls []string
	if e.CRL != nil {
		urls = append(urls, e.CRL(probe))
	}
	if e.FreshestCRL != nil {
		urls = append(urls, e.FreshestCRL(probe))
	}
	for _, u := range append(urls, e.OCSP, e.CAIssuers) {
		if u == "" {
			continue
		}
		if err := checkURL(u); err != nil {
			return e, err
		}
	}
	return e, nil
}
