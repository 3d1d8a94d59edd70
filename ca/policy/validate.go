package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bounds of what a service may ask for.
const (
	MinTTL       = time.Minute
	MaxTTL       = 90 * 24 * time.Hour
	MinSilence   = 15 * time.Second // three heartbeats of the feed
	MaxSilence   = 7 * 24 * time.Hour
	MaxDNSNames  = 100
	MaxIPs       = 100
	MaxCallers   = 1000
	maxDNSName   = 253 // RFC 1035, section 2.3.4
	maxDNSLabel  = 63
	maxServices  = 1000 // that one issuer may act for
	maxProfile   = 64
	ipv4InDNSTip = "give an IP address as an IP, not as a DNS name"
)

// Normalize returns service as it is stored: checked, DNS names in lower case, lists
// sorted and without duplicates. profiles maps each profile's name to its lifetime, ""
// to the default one's; a service cannot ask for a profile that is not there or for
// longer than it gives. Version, Created and Updated pass unchanged.
func Normalize(service Service, profiles map[string]time.Duration) (Service, error) {
	if err := CheckServiceName(service.Name); err != nil {
		return Service{}, err
	}
	var err error
	if service.DNSNames, err = normalizeDNSNames(service.DNSNames); err != nil {
		return Service{}, fmt.Errorf("service %s: %w", service.Name, err)
	}
	if service.IPs, err = normalizeIPs(service.IPs); err != nil {
		return Service{}, fmt.Errorf("service %s: %w", service.Name, err)
	}
	if service.Callers, err = normalizeCallers(service.Callers); err != nil {
		return Service{}, fmt.Errorf("service %s: %w", service.Name, err)
	}
	if err := checkLifetime(service.Profile, service.TTL, profiles); err != nil {
		return Service{}, fmt.Errorf("service %s: %w", service.Name, err)
	}
	if err := checkSilence(service.MaxSilence); err != nil {
		return Service{}, fmt.Errorf("service %s: %w", service.Name, err)
	}
	return service, nil
}

// NormalizeOperator returns operator as it is stored: checked, Services sorted and
// without duplicates. An issuer names at least one service; the other roles name none.
func NormalizeOperator(operator Operator) (Operator, error) {
	if err := CheckOperatorName(operator.Name); err != nil {
		return Operator{}, err
	}
	if len(operator.Services) > maxServices {
		return Operator{}, fmt.Errorf("operator %s: %d services; at most %d are allowed", operator.Name, len(operator.Services), maxServices)
	}
	switch operator.Role {
	case RoleIssuer:
		if len(operator.Services) == 0 {
			return Operator{}, fmt.Errorf("operator %s: an issuer needs at least one service that it may act for", operator.Name)
		}
	case RoleAdmin, RoleReader:
		if len(operator.Services) > 0 {
			return Operator{}, fmt.Errorf("operator %s: only an issuer is bound to services; role %s is for all of them", operator.Name, operator.Role)
		}
	default:
		return Operator{}, fmt.Errorf("operator %s: role %q is unknown (use admin, issuer or reader)", operator.Name, operator.Role)
	}
	for _, name := range operator.Services {
		if err := CheckServiceName(name); err != nil {
			return Operator{}, fmt.Errorf("operator %s: %w", operator.Name, err)
		}
	}
	operator.Services = sortedUnique(operator.Services, strings.Compare)
	return operator, nil
}

// CheckTTL reports why ttl cannot be asked of a profile with this lifetime, or nil. 0
// asks for the profile's own.
func CheckTTL(ttl, lifetime time.Duration) error {
	switch {
	case ttl == 0:
		return nil
	case ttl < MinTTL:
		return fmt.Errorf("lifetime %s is too short; the least is %s", ttl, MinTTL)
	case ttl > MaxTTL:
		return fmt.Errorf("lifetime %s is too long; the most is %s", ttl, MaxTTL)
	case ttl > lifetime:
		return fmt.Errorf("lifetime %s is longer than the profile's %s", ttl, lifetime)
	default:
		return nil
	}
}

func checkSilence(silence time.Duration) error {
	if silence != 0 && (silence < MinSilence || silence > MaxSilence) {
		return fmt.Errorf("max_silence %s is outside %s to %s; 0 is the feed's own", silence, MinSilence, MaxSilence)
	}
	return nil
}

func checkLifetime(profile string, ttl time.Duration, profiles map[string]time.Duration) error {
	if len(profile) > maxProfile {
		return fmt.Errorf("profile name has %d octets; at most %d are allowed", len(profile), maxProfile)
	}
	lifetime, ok := profiles[profile]
	if !ok {
		return fmt.Errorf("profile %q is unknown", profile)
	}
	return CheckTTL(ttl, lifetime)
}

func normalizeDNSNames(names []string) ([]string, error) {
	if len(names) > MaxDNSNames {
		return nil, fmt.Errorf("%d DNS names; at most %d are allowed", len(names), MaxDNSNames)
	}
	lower := make([]string, len(names))
	for i, name := range names {
		lower[i] = lowerASCII(name)
		if err := checkDNSName(lower[i]); err != nil {
			return nil, err
		}
	}
	return sortedUnique(lower, strings.Compare), nil
}

// checkDNSName holds name against RFC 1123, section 2.1: letters, digits and inner
// hyphens. A wildcard would vouch for names that nobody registered, so it is refused.
func checkDNSName(name string) error {
	if name == "" {
		return errors.New("DNS name is empty")
	}
	if len(name) > maxDNSName {
		return fmt.Errorf("DNS name has %d octets; at most %d are allowed", len(name), maxDNSName)
	}
	if strings.Contains(name, "*") {
		return fmt.Errorf("DNS name %q: wildcards are refused; list each name", name)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return fmt.Errorf("DNS name %q: %s", name, ipv4InDNSTip)
	}
	var last string
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return fmt.Errorf("DNS name %q: label %q is not allowed (RFC 1123: letters, digits, inner hyphens, at most %d)", name, label, maxDNSLabel)
		}
		last = label
	}
	// An all-numeric last label would be read as an IPv4 address by some clients.
	if strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("DNS name %q: the last label is a number; %s", name, ipv4InDNSTip)
	}
	return nil
}

func isLabel(label string) bool {
	if label == "" || len(label) > maxDNSLabel || !isAlphanumeric(label[0]) || !isAlphanumeric(label[len(label)-1]) {
		return false
	}
	for i := range len(label) {
		if !isAlphanumeric(label[i]) && label[i] != '-' {
			return false
		}
	}
	return true
}

func normalizeIPs(ips []netip.Addr) ([]netip.Addr, error) {
	if len(ips) > MaxIPs {
		return nil, fmt.Errorf("%d IP addresses; at most %d are allowed", len(ips), MaxIPs)
	}
	plain := make([]netip.Addr, len(ips))
	for i, ip := range ips {
		plain[i] = ip.Unmap()
		switch {
		case !ip.IsValid():
			return nil, errors.New("IP address is empty")
		case ip.Zone() != "":
			return nil, fmt.Errorf("IP address %s: a zone means something on one host only; leave it out", ip)
		case plain[i].IsUnspecified() || plain[i].IsMulticast() || plain[i] == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return nil, fmt.Errorf("IP address %s is nobody's own", ip)
		}
	}
	return sortedUnique(plain, netip.Addr.Compare), nil
}

func normalizeCallers(callers []string) ([]string, error) {
	if len(callers) > MaxCallers {
		return nil, fmt.Errorf("%d callers; at most %d are allowed", len(callers), MaxCallers)
	}
	for _, caller := range callers {
		if caller == AnyCaller {
			continue
		}
		if err := CheckServiceName(caller); err != nil {
			return nil, fmt.Errorf("caller: %w (or %q for every service)", err, AnyCaller)
		}
	}
	return sortedUnique(callers, strings.Compare), nil
}

// sortedUnique copies, so that the caller's list stays as it was; nothing is nil.
func sortedUnique[T comparable](list []T, compare func(a, b T) int) []T {
	if len(list) == 0 {
		return nil
	}
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, compare)
	return slices.Compact(sorted)
}

// lowerASCII leaves other characters alone, so that none folds into a letter (the
// Kelvin sign would become a k).
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
