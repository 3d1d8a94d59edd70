package issuer

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/handfast/handfast/certs"
)

// Draft is the exact encoding of a certificate that is not signed yet. The zero value
// is no draft. It may be checked once.
type Draft struct {
	profile *Profile
	subject Subject
	now     time.Time
	tbs     []byte
	serial  certs.Serial
	life    validity
	steps   *steps
}

// steps remembers what was done with a draft, across copies of it.
type steps struct{ checked, signed atomic.Bool }

// validity is a certificate's, in UTC and whole seconds.
type validity struct {
	notBefore, notAfter time.Time
	short               bool // below the profile's threshold, so that it carries noRevAvail
}

// Draft encodes a certificate for s, valid from now (less the profile's backdate) and
// with a fresh random serial number. It never outlives the issuer nor begins
// before it. Errors wrap ErrSubject, ErrWeakKey, ErrClock or ErrIssuerExpired.
func (p *Profile) Draft(s Subject, now time.Time) (Draft, error) {
	if err := s.check(p); err != nil {
		return Draft{}, err
	}
	life, err := p.validity(s.TTL, now)
	if err != nil {
		return Draft{}, err
	}
	octets, err := newSerial(now)
	if err != nil {
		return Draft{}, fmt.Errorf("serial number: %w", err)
	}
	return p.draft(s, now, life, octets)
}

func (p *Profile) draft(s Subject, now time.Time, life validity, octets []byte) (Draft, error) {
	serial, err := certs.SerialFromBytes(octets)
	if err != nil {
		return Draft{}, err
	}
	tbs, err := p.encode(s, serial, octets, life)
	if err != nil {
		return Draft{}, fmt.Errorf("encode certificate: %w", err)
	}
	return Draft{profile: p, subject: s, now: now, tbs: tbs, serial: serial, life: life, steps: new(steps)}, nil
}

// NotAfter returns the end of the validity that the certificate will have.
func (d Draft) NotAfter() time.Time { return d.life.notAfter }

// Serial returns the serial number that the certificate will have.
func (d Draft) Serial() certs.Serial { return d.serial }

// validity fits the lifetime into the issuer's.
func (p *Profile) validity(ttl time.Duration, now time.Time) (validity, error) {
	issuer := p.issuer.cert
	now = now.UTC().Truncate(time.Second)
	if now.Before(issuer.NotBefore) {
		return validity{}, fmt.Errorf("%w: it is %s here and the issuer is valid from %s; set this host's clock", ErrClock, now.Format(time.RFC3339), issuer.NotBefore.Format(time.RFC3339))
	}
	if !now.Before(issuer.NotAfter) {
		return validity{}, fmt.Errorf("%w: at %s; make a new intermediate", ErrIssuerExpired, issuer.NotAfter.Format(time.RFC3339))
	}
	if ttl == 0 || ttl > p.config.Lifetime {
		ttl = p.config.Lifetime
	}
	v := validity{notBefore: now.Add(-p.config.Backdate), notAfter: now.Add(ttl).Truncate(time.Second)}
	if v.notBefore.Before(issuer.NotBefore) {
		v.notBefore = issuer.NotBefore.UTC()
	}
	if v.notAfter.After(issuer.NotAfter) {
		v.notAfter = issuer.NotAfter.UTC()
	}
	v.short = v.notAfter.Sub(now) < p.config.NoRevAvailBelow
	return v, nil
}

func (p *Profile) accepts(a Algorithm) bool { return slices.Contains(p.config.KeyAlgorithms, a) }

// Checked is a draft that passed its check: the only thing that [Issuer.Sign] takes.
// It comes only from [Draft.Check]; the zero value is refused. It may be signed once, copies of it included.
type Checked struct{ draft *Draft }
