// Package policy decides what a service's certificate may hold, who may call it and
// what an operator may do. It is pure: no I/O, no clock, no keys. Everything that is
// not allowed in so many words is denied.
package policy

import (
	"net/netip"
	"time"

	"github.com/handfast/handfast/certs"
)

// AnyCaller stands in Service.Callers for every service of the trust domain.
const AnyCaller = "*"

// Service is a registered service: what its certificates hold and who may call it.
type Service struct {
	Name     string       // the path of its SPIFFE ID
	DNSNames []string     // lower case, sorted, no duplicates
	IPs      []netip.Addr // sorted, no duplicates
	Callers  []string     // names of services or AnyCaller; none means nobody
	Profile  string       // "" is the default profile
	TTL      time.Duration
	// MaxSilence is how long its agents go on without a fresh statement of the revocation feed
	// before they refuse everybody; 0 is until the statement's own nextUpdate.
	MaxSilence time.Duration
	Version    uint64 // rises with each change; 0 is not stored yet
	Created    time.Time
	Updated    time.Time
}

// Role is what an operator may do, from least to most.
type Role string

// The roles.
const (
	RoleReader Role = "reader" // read everything, change nothing
	RoleIssuer Role = "issuer" // also: tokens, issuance and revocation for the named services
	RoleAdmin  Role = "admin"  // everything
)

// Operator is a registered operator. The role stands here and not in the
// certificate, so that a change of role shows at once.
type Operator struct {
	Name     string
	Role     Role
	Services []string // for RoleIssuer
	Created  time.Time
}

// OperatorPathPrefix begins the path of an operator's SPIFFE ID.
const OperatorPathPrefix = certs.ReservedPrefix + "/operator/"

// ServerPath is the path of the SPIFFE ID of the CA's API server.
const ServerPath = certs.ReservedPrefix + "/ca"

// ResponderPath is the path of the SPIFFE ID of the CA's OCSP responders.
const ResponderPath = certs.ReservedPrefix + "/ocsp"

// FeedPath is the path of the SPIFFE ID of those who sign the CA's feed of revocations.
const FeedPath = certs.ReservedPrefix + "/feed"
