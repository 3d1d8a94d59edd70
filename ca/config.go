package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/revocation"
)

// Config is what New needs. TrustDomain, Ledger, Issuers, Roots, Profiles, Publisher and URLs are required.
type Config struct {
	TrustDomain certs.TrustDomain
	Ledger      Ledger
	// What to start with; see Authorities.
	Issuers        []*issuer.Issuer
	Roots          []*x509.Certificate
	Profiles       []issuer.ProfileConfig
	DefaultProfile string

	Publisher Publisher
	// URLs tells what goes into the certificates of an issuer, by its subject key identifier.
	URLs func(issuerID string) revocation.URLs

	// Noted is told of each change of the revocation log after it is durable and before anybody
	// is told of it: the last sequence number, and when. Nil: nobody asks.
	Noted func(sequence uint64, at time.Time)

	// Feed tells agents of revocations and changes as they happen. Nil: nobody follows.
	Feed Feed

	// Retention is how long the ledger remembers what has expired; 0 is 7 days. It is
	// never less than the longest grace.
	Retention time.Duration
	// AcceptClock issues although the ledger holds certificates from the future: for
	// when a clock that ran ahead was set right.
	AcceptClock bool
	// ResponderAlgorithm is the OCSP responders' key; "" is ECDSA P-256.
	ResponderAlgorithm issuer.Algorithm

	Now        func() time.Time      // nil: time.Now
	Logger     *slog.Logger          // nil: discards; the audit events go here
	Registerer prometheus.Registerer // nil: metrics are kept but not registered
}

// Authorities is what certificates are signed with and under which rules. It is exchanged
// as a whole (CA.Exchange): no certificate is ever made from a mix of two.
type Authorities struct {
	Issuers        []*issuer.Issuer // the active one first; the others' certificates are still accepted and revocable
	Roots          []*x509.Certificate
	Profiles       []issuer.ProfileConfig // of services; the names "operator", "server", "ocsp" and "feed" are taken
	DefaultProfile string                 // "" is the first of Profiles
}

const (
	defaultRetention = 7 * 24 * time.Hour
	// maxClockStep is how far the clock may be behind the newest certificate: the
	// clocks of two replicas, and corrections by NTP.
	maxClockStep = 2 * time.Minute
)

func (cfg *Config) check() error {
	switch {
	case cfg.TrustDomain.IsZero():
		return errors.New("ca: the trust domain is missing")
	case cfg.Ledger == nil:
		return errors.New("ca: the ledger is missing")
	case cfg.Publisher == nil:
		return errors.New("ca: the publisher of revocations is missing")
	case cfg.URLs == nil:
		return errors.New("ca: the URLs for CRL and OCSP are missing")
	case cfg.Retention < 0:
		return fmt.Errorf("ca: retention %s is negative", cfg.Retention)
	}
	if cfg.Retention == 0 {
		cfg.Retention = defaultRetention
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Noted == nil {
		cfg.Noted = func(uint64, time.Time) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
