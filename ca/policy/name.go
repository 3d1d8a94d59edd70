package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/handfast/handfast/certs"
)

// Limits of names, in octets.
const (
	MaxServiceName  = 200
	MaxOperatorName = 64
)

// CheckServiceName reports why name cannot be a service's, or nil. A name is 1 to
// MaxServiceName octets: segments joined by '/', each out of lower-case letters, digits,
// '.', '_' and '-', beginning and ending with a letter or a digit; the first one
// is never the reserved one.
func CheckServiceName(name string) error {
	if name == "" {
		return errors.New("service name is empty")
	}
	if len(name) > MaxServiceName {
		return fmt.Errorf("service name has %d octets; at most %d are allowed", len(name), MaxServiceName)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if !isSegment(segment) {
			return fmt.Errorf("service name %q: segment %q is not allowed (use lower-case letters, digits, '.', '_', '-'; begin and end with a letter or a digit)", name, segment)
		}
	}
	if first, _, _ := strings.Cut(name, "/"); first == certs.ReservedPrefix {
		return fmt.Errorf("service name %q: the first segment %q is reserved for the CA's own identities", name, first)
	}
	return nil
}

// CheckOperatorName reports why name cannot be an operator's, or nil: one segment of
// a service's name, at most MaxOperatorName octets.
func CheckOperatorName(name string) error {
	if name == "" {
		return errors.New("operator name is empty")
	}
	if len(name) > MaxOperatorName {
		return fmt.Errorf("operator name has %d octets; at most %d are allowed", len(name), MaxOperatorName)
	}
	if !isSegment(name) {
		return fmt.Errorf("operator name %q is not allowed (use lower-case letters, digits, '.', '_', '-'; begin and end with a letter or a digit)", name)
	}
	return nil
}

// ServiceID is the SPIFFE ID of the service with this name.
func ServiceID(td certs.TrustDomain, name string) (certs.ID, error) {
	if err := CheckServiceName(name); err != nil {
		return certs.ID{}, err
	}
	return td.ID(name)
}

// OperatorID is the SPIFFE ID of the operator with this name.
func OperatorID(td certs.TrustDomain, name string) (certs.ID, error) {
	if err := CheckOperatorName(name); err != nil {
		return certs.ID{}, err
	}
	return td.ID(OperatorPathPrefix + name)
}

func isSegment(segment string) bool {
	if segment == "" || !isAlphanumeric(segment[0]) || !isAlphanumeric(segment[len(segment)-1]) {
		return false
	}
	for i := range len(segment) {
		c := segment[i]
		if !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
