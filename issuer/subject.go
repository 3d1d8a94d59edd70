package issuer

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/handfast/handfast/certs"
)

// Subject is whom a certificate is for. Every name comes from the caller's policy; this
// package takes none from a request. The caller leaves the slices alone until the draft is signed.
type Subject struct {
	ID       certs.ID
	DNSNames []string     // lower case, no wildcards
	IPs      []netip.Addr // no zones; IPv4 not mapped into IPv6
	Key      PublicKey
	// TTL shortens the profile's lifetime: 0 is the profile's, and so is whatever is
	// longer. At least MinLifetime.
	TTL time.Duration
}

// maxNames bounds a certificate's size (some 50 KiB at worst): TLS stacks and proxies refuse large ones.
const maxNames = 200

// check decides whether s may stand in a certificate of p. Errors wrap ErrSubject or ErrWeakKey.
func (s Subject) check(p *Profile) error {
	if err := s.checkID(p.config); err != nil {
		return fmt.Errorf("%w: %w", ErrSubject, err)
	}
	if err := s.checkNames(p.config); err != nil {
		return fmt.Errorf("%w: %w", ErrSubject, err)
	}
	if s.TTL < 0 || s.TTL > 0 && s.TTL < MinLifetime {
		return fmt.Errorf("%w: lifetime of %s is under %s", ErrSubject, s.TTL, MinLifetime)
	}
	if s.Key.IsZero() {
		return fmt.Errorf("%w: there is none", ErrWeakKey)
	}
	if !p.accepts(s.Key.algorithm) {
		return fmt.Errorf("%w: profile %s accepts %v, not %s", ErrWeakKey, p.config.Name, p.config.KeyAlgorithms, s.Key.algorithm)
	}
	return p.issuer.checkLeafKey(s.Key)
}

func (s Subject) checkID(c ProfileConfig) error {
	switch {
	case s.ID.IsZero():
		return fmt.Errorf("SPIFFE ID is missing")
	case s.ID.TrustDomain() != c.TrustDomain:
		return fmt.Errorf("%s is not in the trust domain %s", s.ID, c.TrustDomain)
	case s.ID.IsReserved() && !c.Reserved:
		return fmt.Errorf("%s is reserved for the CA itself", s.ID)
	case !s.ID.IsReserved() && c.Reserved:
		return fmt.Errorf("profile %s is for the CA's own identities, not for %s", c.Name, s.ID)
	default:
		return nil
	}
}

func (s Subject) checkNames(c ProfileConfig) error {
	switch {
	case c.NoDNSNames && len(s.DNSNames) > 0:
		return fmt.Errorf("profile %s allows no DNS names", c.Name)
	case c.NoIPs && len(s.IPs) > 0:
		return fmt.Errorf("profile %s allows no IP addresses", c.Name)
	case len(s.DNSNames)+len(s.IPs) > maxNames:
		return fmt.Errorf("%d DNS names and IP addresses; at most %d are allowed", len(s.DNSNames)+len(s.IPs), maxNames)
	}
	for _, name := range s.DNSNames {
		if !isDNSName(name) {
			return fmt.Errorf("DNS name %q is not acceptable (lower-case labels of letters, digits, '-' and '_'; no wildcard)", name)
		}
	}
	for _, ip := range s.IPs {
		if !isAddress(ip) {
			return fmt.Errorf("IP address %q is not acceptable", ip)
		}
	}
	return nil
}

// isDNSName knows the names of hosts and of services in clusters. A wildcard is not
// one of them: the names of a certificate are one service's own.
func isDNSName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	label := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.':
			if label == 0 || name[i-1] == '-' {
				return false
			}
			label = 0
			continue
		case c == '-':
			if label == 0 {
				return false
			}
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0 && name[len(name)-1] != '-'
}

func isAddress(ip netip.Addr) bool {
	return ip.IsValid() && ip.Zone() == "" && !ip.Is4In6() && !ip.IsUnspecified() && !ip.IsMulticast()
}
