package certs

import (
	"fmt"
	"strings"
)

// Reason is a CRLReason (RFC 5280, section 5.3.1).
type Reason int

// The reasons that RFC 5280 names. Seven is not used there.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	CertificateHold      Reason = 6
	RemoveFromCRL        Reason = 8
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

var reasonNames = map[Reason]string{
	Unspecified:          "unspecified",
	KeyCompromise:        "keyCompromise",
	CACompromise:         "cACompromise",
	AffiliationChanged:   "affiliationChanged",
	Superseded:           "superseded",
	CessationOfOperation: "cessationOfOperation",
	CertificateHold:      "certificateHold",
	RemoveFromCRL:        "removeFromCRL",
	PrivilegeWithdrawn:   "privilegeWithdrawn",
	AACompromise:         "aACompromise",
}

// ParseReason reads a reason by its name in RFC 5280, in any case. Numbers are not read.
func ParseReason(name string) (Reason, error) {
	for reason, known := range reasonNames {
		if strings.EqualFold(known, name) {
			return reason, nil
		}
	}
	return 0, fmt.Errorf("revocation reason %q is unknown (RFC 5280 names them: keyCompromise, superseded, cessationOfOperation, ...)", name)
}

// String returns the name in RFC 5280.
func (r Reason) String() string {
	if name, ok := reasonNames[r]; ok {
		return name
	}
	return fmt.Sprintf("reason(%d)", int(r))
}

// MarshalText returns the name.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is ParseReason.
func (r *Reason) UnmarshalText(text []byte) error {
	parsed, err := ParseReason(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
