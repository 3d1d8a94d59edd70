package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Limits of the SPIFFE ID specification, section 2.3 and 2.4.
const (
	maxIDLength          = 2048
	maxTrustDomainLength = 255
)

// ReservedPrefix is the first path segment that Handfast keeps for its own
// identities (the CA's servers and the operators). No service may be registered
// under it, so a workload can never be mistaken for an operator.
const ReservedPrefix = "handfast"

// TrustDomain is the name of a trust domain, such as "prod.example.org".
// The zero value is no trust domain; every other value is valid.
type TrustDomain struct{ name string }

// ParseTrustDomain checks name against the SPIFFE ID specification, section 2.1:
// 1 to 255 octets out of lower-case letters, digits, '.', '-' and '_'.
func ParseTrustDomain(name string) (TrustDomain, error) {
	if name == "" {
		return TrustDomain{}, errors.New("trust domain is empty")
	}
	if len(name) > maxTrustDomainLength {
		return TrustDomain{}, fmt.Errorf("trust domain has %d octets; at most %d are allowed", len(name), maxTrustDomainLength)
	}
	for i := range len(name) {
		if !isTrustDomainChar(name[i]) {
			return TrustDomain{}, fmt.Errorf("trust domain %q: character %q is not allowed (use lower-case letters, digits, '.', '-', '_')", name, name[i])
		}
	}
	return TrustDomain{name: name}, nil
}

// String returns the bare name, without a scheme.
func (td TrustDomain) String() string { return td.name }

// IsZero reports whether td is no trust domain at all.
func (td TrustDomain) IsZero() bool { return td.name == "" }

// ID returns the SPIFFE ID of the workload at path (segments joined by '/',
// without a leading one) in this trust domain.
func (td TrustDomain) ID(path string) (ID, error) {
	if td.IsZero() {
		return ID{}, errors.New("SPIFFE ID: trust domain is empty")
	}
	return ParseID("spiffe://" + td.name + "/" + path)
}

// ID is a SPIFFE ID of a workload: a trust domain and a path that is not empty.
// The zero value is no identity; every other value is valid. IDs are comparable,
// and two are equal exactly when they name the same workload.
type ID struct {
	td   TrustDomain
	path string // without the leading '/'
}

// ParseID reads a SPIFFE ID by the SPIFFE ID specification, section 2, strictly:
// scheme "spiffe" in lower case, no port, user, query, fragment or percent-encoding, no
// empty, "." or ".." segment. A trust domain's own ID (no path) is not a workload's and is refused.
func ParseID(s string) (ID, error) {
	if len(s) > maxIDLength {
		return ID{}, fmt.Errorf("SPIFFE ID has %d octets; at most %d are allowed", len(s), maxIDLength)
	}
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok {
		return ID{}, fmt.Errorf("SPIFFE ID %q does not begin with spiffe://", s)
	}
	name, path, ok := strings.Cut(rest, "/")
	if !ok || path == "" {
		return ID{}, fmt.Errorf("SPIFFE ID %q has no path, so it names no workload", s)
	}
	td, err := ParseTrustDomain(name)
	if err != nil {
		return ID{}, fmt.Errorf("SPIFFE ID %q: %w", s, err)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if err := checkSegment(segment); err != nil {
			return ID{}, fmt.Errorf("SPIFFE ID %q: %w", s, err)
		}
	}
	return ID{td: td, path: path}, nil
}

// IDFromCertificate returns the identity that cert carries. By the X.509-SVID
// specification, section 2, there is exactly one URI among the subject
// alternative names; none or several are errors, and so is a URI that Go's parser would rewrite.
func IDFromCertificate(cert *x509.Certificate) (ID, error) {
	switch len(cert.URIs) {
	case 0:
		return ID{}, errors.New("certificate carries no URI, so no SPIFFE ID")
	case 1:
		return idFromURL(cert)
	default:
		return ID{}, fmt.Errorf("certificate carries %d URIs; an X.509-SVID has exactly one", len(cert.URIs))
	}
}

func idFromURL(cert *x509.Certificate) (ID, error) {
	id, err := ParseID(cert.URIs[0].String())
	if err != nil {
		return ID{}, err
	}
	// The identity is what was signed, not what net/url made of it: it lowers the
	// scheme's case and drops an empty fragment.
	if len(cert.Raw) > 0 && !hasRawURI(cert, id.String()) {
		return ID{}, fmt.Errorf("certificate's URI is not %q to the letter, so it is no SPIFFE ID", id)
	}
	return id, nil
}

// hasRawURI reports whether uri stands among cert's subject alternative names, byte for byte.
func hasRawURI(cert *x509.Certificate, uri string) bool {
	for _, extension := range cert.Extensions {
		if !extension.Id.Equal(oidSubjectAltName) {
			continue
		}
		value := der(extension.Value)
		names, _, err := value.Read(tagSequence)
		for err == nil && len(names) > 0 {
			var tag byte
			var content der
			if tag, content, _, err = names.Next(); err == nil && tag == tagURI && string(content) == uri {
				return true
			}
		}
	}
	return false
}

// String returns the ID as a URI, or "" for the zero value.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return "spiffe://" + id.td.name + "/" + id.path
}

// URL returns the ID as it stands in a certificate.
func (id ID) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.td.name, Path: "/" + id.path}
}

// IsZero reports whether id is no identity at all.
func (id ID) IsZero() bool { return id.path == "" }

// TrustDomain returns the domain that vouches for id.
func (id ID) TrustDomain() TrustDomain { return id.td }

// Path returns the path without the leading '/': for a service, its name.
func (id ID) Path() string { return id.path }

// IsReserved reports whether id is one of Handfast's own identities, never a service's.
func (id ID) IsReserved() bool {
	first, _, _ := strings.Cut(id.path, "/")
	return first == ReservedPrefix
}

// MarshalText returns String.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseID; an empty text is the zero value.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

func checkSegment(segment string) error {
	switch segment {
	case "":
		return errors.New("path has an empty segment")
	case ".", "..":
		return errors.New("path has a relative segment")
	}
	for i := range len(segment) {
		if !isPathChar(segment[i]) {
			return fmt.Errorf("path character %q is not allowed (use letters, digits, '.', '-', '_')", segment[i])
		}
	}
	return nil
}

func isTrustDomainChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
}

func isPathChar(c byte) bool {
	return isTrustDomainChar(c) || c >= 'A' && c <= 'Z'
}
