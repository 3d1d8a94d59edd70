package issuer

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handfast/handfast/certs"
)

// Limits and defaults of profiles.
const (
	MinLifetime     = time.Minute
	MaxLifetime     = 90 * 24 * time.Hour
	DefaultLifetime = time.Hour

	DefaultBackdate = time.Minute
	MaxBackdate     = time.Hour

	DefaultGrace = 24 * time.Hour
	MaxGrace     = 90 * 24 * time.Hour

	// MaxNoRevAvailBelow: what lives longer has to be revocable for everybody.
	MaxNoRevAvailBelow = 24 * time.Hour
)

// ProfileConfig is what an operator writes about a profile. It is nothing but input:
// [Issuer.Compile] turns it into a validated [Profile].
type ProfileConfig struct {
	Name string `yaml:"name"`
	// TrustDomain is the one domain that identities are issued in. Required; set by the CA, not by the operator.
	TrustDomain certs.TrustDomain `yaml:"-"`

	// Lifetime is how long a certificate is valid from the moment of issuance:
	// MinLifetime to MaxLifetime, 0 is DefaultLifetime.
	Lifetime time.Duration `yaml:"lifetime"`
	// Backdate is how long before the moment of issuance validity begins, for peers
	// whose clocks are behind: at most MaxBackdate, 0 is DefaultBackdate.
	Backdate time.Duration `yaml:"backdate"`
	// Grace is for how long after its expiry a certificate may still be exchanged for a
	// new one: at most MaxGrace, 0 is not at all.
	Grace time.Duration `yaml:"grace"`
	// RenewAfter is how long after the moment of issuance an agent is asked to renew: a
	// second or more, less than Lifetime; 0 is two thirds of the certificate's validity.
	RenewAfter time.Duration `yaml:"renew_after"`

	// KeyAlgorithms are the kinds of key that are accepted; none is all of them.
	KeyAlgorithms []Algorithm `yaml:"key_algorithms"`

	// At least one use is needed. OCSPSigning and DocumentSigning exclude the others.
	ServerAuth      bool `yaml:"server_auth"`
	ClientAuth      bool `yaml:"client_auth"`
	OCSPSigning     bool `yaml:"-"`
	DocumentSigning bool `yaml:"-"` // id-kp-documentSigning (RFC 9336)

	// NoDNSNames and NoIPs refuse subjects with such names, so that a certificate of
	// this profile carries the SPIFFE ID alone.
	NoDNSNames bool `yaml:"no_dns_names"`
	NoIPs      bool `yaml:"no_ips"`

	// Reserved makes the profile one for the CA's own identities (certs.ReservedPrefix)
	// and no others; without it those are refused. Never the operator's to say.
	Reserved bool `yaml:"-"`

	// MustStaple puts the TLS feature extension with status_request into certificates (RFC
	// 7633): their holders have to staple an OCSP response in every handshake. It needs Endpoints.OCSP.
	MustStaple bool `yaml:"must_staple"`
	// NoRevAvailBelow makes certificates that live shorter from the moment of issuance, by
	// the profile, by a service's ttl or by the issuer's end, carry noRevAvail (RFC 9608) and
	// no pointers to CRLs and OCSP: relying parties need to look nothing up. At most
	// MaxNoRevAvailBelow, 0 is never. It cannot be combined with MustStaple.
	NoRevAvailBelow time.Duration `yaml:"no_rev_avail_below"`

	// LintEach runs zlint over every certificate before it is signed, at about 0.2 ms
	// each, and not only over the probes when the profile is compiled.
	LintEach bool `yaml:"lint_each"`
}

// ServiceDefault is the profile of services that name none: an hour, both ends of mutual TLS.
func ServiceDefault() ProfileConfig {
	return ProfileConfig{Name: "default", Lifetime: DefaultLifetime, Grace: DefaultGrace, ServerAuth: true, ClientAuth: true}
}

// Operator is the profile of operators' credentials: 30 days, clients only.
func Operator() ProfileConfig {
	return ProfileConfig{
		Name: "operator", Lifetime: 30 * 24 * time.Hour, ClientAuth: true,
		NoDNSNames: true, NoIPs: true, Reserved: true,
	}
}

// Server is the profile of the CA's own API servers: 24 hours.
func Server() ProfileConfig {
	return ProfileConfig{Name: "server", Lifetime: 24 * time.Hour, ServerAuth: true, ClientAuth: true, Reserved: true}
}

// OCSPResponder is the profile of delegated OCSP responders (RFC 6960, section
// 4.2.2.2): 7 days, id-pkix-ocsp-nocheck, and so no pointers to revocation information.
func OCSPResponder() ProfileConfig {
	return ProfileConfig{
		Name: "ocsp", Lifetime: 7 * 24 * time.Hour, OCSPSigning: true,
		KeyAlgorithms: CAAlgorithms(),
		NoDNSNames:    true, NoIPs: true, Reserved: true,
	}
}

// Feed is the profile of those who sign the feed of revocations: 7 days,
// id-kp-documentSigning (RFC 9336) alone, so that the key is good for no connection.
func Feed() ProfileConfig {
	return ProfileConfig{
		Name: "feed", Lifetime: 7 * 24 * time.Hour, DocumentSigning: true,
		KeyAlgorithms: []Algorithm{ECDSAP256},
		NoDNSNames:    true, NoIPs: true, Reserved: true,
	}
}

// withDefaults validates c and fills in what it leaves open.
func (c ProfileConfig) withDefaults() (ProfileConfig, error) {
	if err := checkProfileName(c.Name); err != nil {
		return c, err
	}
	if c.TrustDomain.IsZero() {
		return c, errors.New("trust domain is missing")
	}
	if c.Lifetime == 0 {
		c.Lifetime = DefaultLifetime
	}
	if c.Backdate == 0 {
		c.Backdate = DefaultBackdate
	}
	if err := c.checkDurations(); err != nil {
		return c, err
	}
	if len(c.KeyAlgorithms) == 0 {
		c.KeyAlgorithms = Algorithms()
	}
	c.KeyAlgorithms = slices.Clone(c.KeyAlgorithms)
	for i, a := range c.KeyAlgorithms {
		if !slices.Contains(Algorithms(), a) {
			return c, fmt.Errorf("key algorithm %q is unknown", a)
		}
		if slices.Contains(c.KeyAlgorithms[:i], a) {
			return c, fmt.Errorf("key algorithm %s is named twice", a)
		}
	}
	return c, c.checkUses()
}

func (c ProfileConfig) checkUses() error {
	if c.MustStaple && c.NoRevAvailBelow > 0 {
		return errors.New("must_staple demands OCSP responses and no_rev_avail_below says that there are none; choose one")
	}
	connects := c.ServerAuth || c.ClientAuth
	switch {
	case !connects && !c.OCSPSigning && !c.DocumentSigning:
		return errors.New("it allows no use: set server_auth or client_auth")
	case c.OCSPSigning && (connects || c.DocumentSigning):
		return errors.New("OCSP signing cannot be combined with another use")
	case c.DocumentSigning && connects:
		return errors.New("document signing cannot be combined with another use")
	}
	return nil
}

func (c ProfileConfig) checkDurations() error {
	for _, d := range []struct {
		name     string
		value    time.Duration
		min, max time.Duration
	}{
		{"lifetime", c.Lifetime, MinLifetime, MaxLifetime},
		{"backdate", c.Backdate, 0, MaxBackdate},
		{"grace", c.Grace, 0, MaxGrace},
		{"renew_after", c.RenewAfter, 0, c.Lifetime - time.Second},
		{"no_rev_avail_below", c.NoRevAvailBelow, 0, MaxNoRevAvailBelow},
	} {
		if d.value < d.min || d.value > d.max {
			return fmt.Errorf("%s of %s is not between %s and %s", d.name, d.value, d.min, d.max)
		}
		if d.value%time.Second != 0 {
			return fmt.Errorf("%s of %s is not in whole seconds", d.name, d.value)
		}
	}
	return nil
}

func checkProfileName(name string) error {
	if name == "" || len(name) > 63 {
		return fmt.Errorf("profile name %q: use 1 to 63 characters", name)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("profile name %q: use lower-case letters, digits, '-' and '_'", name)
		}
	}
	return nil
}

// Endpoints are the URLs that certificates carry, all plain http. Empty strings,
// nil functions and functions that return "" leave the extension out. The functions are
// pure and safe for concurrent use.
type Endpoints struct {
	OCSP        string                    // the OCSP responder
	CAIssuers   string                    // the issuing certificate, DER
	CRL         func(certs.Serial) string // the CRL (or its shard) that covers a serial
	FreshestCRL func(certs.Serial) string // the delta CRL that covers a serial; needs CRL
}
