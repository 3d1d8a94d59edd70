// Package api is the wire between the CA and everyone else: the paths, the request
// and response types, the error codes and the HTTP client. It imports certs and the
// standard library only, so that the agent and the CLI stay light.
//
// Bodies are JSON. The CA decodes requests strictly (DecodeStrict): an unknown field, a
// repeated one, a second value or a body over the limit is an error. The client ignores
// fields of responses that it does not know, so that a newer CA can serve an older
// client. Binary values are base64 (encoding/json's []byte): CSRs, certificates and CRLs
// travel as DER. Times are RFC 3339 in UTC. Durations are Go's notation ("1h30m")
// through Duration.
package api

import (
	"fmt"
	"time"

	"github.com/handfast/handfast/certs"
)

// Paths of the API, all below the CA's HTTPS address. {name...} may hold slashes.
const (
	// Without a client certificate.
	PathEnroll = "/v1/enroll" // POST EnrollRequest -> Issued
	PathRekey  = "/v1/rekey"  // POST RekeyRequest -> Issued
	PathBundle = "/v1/bundle" // GET -> Bundle; ETag and If-None-Match

	// With a service's certificate.
	PathRenew      = "/v1/renew"       // POST RenewRequest -> Issued
	PathAgentState = "/v1/agent/state" // GET -> AgentState; ETag and If-None-Match
	PathFeed       = "/v1/feed"        // GET: polling, see Client.FeedPoll; query parameters: since, agent. The stream is FeedProtocol
	PathCRL        = "/v1/crl/"        // GET + key id of the CRL's issuer -> DER; ETag and If-None-Match; any client certificate

	// With an operator's certificate.
	PathTokens        = "/v1/tokens"          // POST TokenRequest -> Token (admin, issuer)
	PathCertificates  = "/v1/certificates"    // POST IssueRequest -> Issued (admin, issuer); GET -> CertificateList (reader and up); GET + "/" + serial -> Certificate
	PathRevocations   = "/v1/revocations"     // POST RevokeRequest -> RevokeResult (admin; issuer for its services); GET + "/" + issuer's key id + "/" + serial -> RevocationState (services)
	PathFeedProgress  = "/v1/feed/progress"   // GET ?sequence=N -> Progress (reader and up); "Prefer: wait=SECONDS" to be answered when every connected agent enforces it
	PathAgents        = "/v1/agents"          // GET -> AgentList (reader and up)
	PathServices      = "/v1/services"        // GET -> ServiceList; PUT + "/" + name Service -> Service (admin); GET and DELETE + "/" + name
	PathApply         = "/v1/apply"           // POST ApplyRequest -> ApplyResult (admin)
	PathOperators     = "/v1/operators"       // GET -> OperatorList; POST OperatorRequest -> Issued (admin); DELETE + "/" + name (admin)
	PathOperatorRenew = "/v1/operators/renew" // POST RenewRequest -> Issued (the operator's own certificate)
	PathStatus        = "/v1/status"          // GET -> Status (reader and up)
	PathMetrics       = "/metrics"            // GET, Prometheus text (reader and up)

	// Without a client certificate, on both listeners.
	PathHealth = "/healthz" // the process lives
	PathReady  = "/readyz"  // it can issue: 200, or 503 and the reasons
)

// Headers that the API gives a meaning.
const (
	// HeaderIdempotencyKey makes a repeated enrol, renew, rekey or issue return the
	// first one's certificate: 1 to 64 visible ASCII characters, kept for a day.
	HeaderIdempotencyKey = "Idempotency-Key"
	// HeaderRequestID stands in every response and every log line of the request.
	HeaderRequestID = "Request-Id"
	// HeaderPrefer with the value "wait=SECONDS" (RFC 7240, section 4.3), at most
	// MaxWait, makes PathFeed and PathFeedProgress answer only when there is news.
	HeaderPrefer = "Prefer"
)

// AnyVersion makes PutService and DeleteService overwrite whatever is there: no
// precondition is sent. Version 0 means "must not exist" (If-None-Match: *), any other
// "only if it still is this version" (If-Match).
const AnyVersion = ^uint64(0)

// Limits of sizes, in bytes.
const (
	MaxBody     = 64 << 10 // a request's body, but for PathApply
	MaxApply    = 4 << 20  // PathApply's body
	MaxCSR      = 8 << 10  // a DER CSR
	MaxToken    = 16 << 10 // an enrolment token
	MaxPageSize = 1000     // items in a listing's page
	MaxCRL      = 96 << 20 // a DER CRL, about two million entries
)

// MaxWait is the longest that the CA keeps a request waiting.
const MaxWait = 60 * time.Second

// Duration is a time.Duration that reads and writes Go's notation, such as "1h30m".
type Duration time.Duration

// MarshalText returns Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's notation.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: use a number and a unit, such as 90s, 15m or 24h", text)
	}
	*d = Duration(parsed)
	return nil
}

// String returns Go's notation.
func (d Duration) String() string { return time.Duration(d).String() }

// EnrollRequest asks for a first certificate. Only the CSR's public key is used.
type EnrollRequest struct {
	Token string `json:"token"`
	CSR   []byte `json:"csr"` // PKCS #10, DER
}

// RenewRequest asks for a certificate of the identity that the request's own client
// certificate carries.
type RenewRequest struct {
	CSR []byte `json:"csr"` // PKCS #10, DER, with a fresh key
}

// RekeyRequest asks for a certificate when the old one has expired within its
// profile's grace. Proof is a signature by the old key over RekeyMessage.
type RekeyRequest struct {
	Chain     [][]byte  `json:"chain"` // the old leaf and its intermediates, DER
	CSR       []byte    `json:"csr"`
	Nonce     []byte    `json:"nonce"`     // 16 random bytes, used once
	SignedAt  time.Time `json:"signed_at"` // within 5 minutes of the CA's clock
	Signature []byte    `json:"signature"` // ECDSA: ASN.1 over SHA-256; Ed25519: over the message; RSA: PSS, SHA-256
}

// Issued answers enrol, renew, rekey and issue.
type Issued struct {
	Chain      [][]byte  `json:"chain"` // DER, the leaf first, then the intermediates, without the root
	Roots      [][]byte  `json:"roots"` // DER
	RenewAfter time.Time `json:"renew_after"`
	Grace      Duration  `json:"grace"` // how long after its expiry the certificate may still be rekeyed
}

// Bundle is the trust domain's roots.
type Bundle struct {
	TrustDomain string   `json:"trust_domain"`
	Roots       [][]byte `json:"roots"` // DER
}

// AgentState is all that an agent enforces for its service, in one consistent answer.
type AgentState struct {
	ID          certs.ID  `json:"id"`
	Callers     []string  `json:"callers"` // SPIFFE IDs; "*" is every service of the trust domain; none means nobody
	Roots       [][]byte  `json:"roots"`   // DER
	CRLs        []CRLRef  `json:"crls"`    // of issuers that the feed does not cover: what to fetch from PathCRL when the number is higher than one's own
	ServerTime  time.Time `json:"server_time"`
	PolicyEpoch uint64    `json:"policy_epoch"` // rises with every change of any service
	Versions    []Version `json:"versions"`     // what this state is as of: the same as in the feed's statements
	MaxSilence  Duration  `json:"max_silence"`  // how old the feed's newest statement may be; 0: until its own nextUpdate
}

// CRLRef names the newest full CRL of an issuer.
type CRLRef struct {
	Issuer string `json:"issuer"` // the issuer's subject key identifier, lower-case hexadecimal
	Number string `json:"number"` // the CRLNumber, decimal
}

// TokenRequest asks for a one-time enrolment token.
type TokenRequest struct {
	Service string   `json:"service"`
	TTL     Duration `json:"ttl,omitempty"` // 0: the CA's default
}

// Token is a one-time enrolment token. It is a secret until used.
type Token struct {
	Token     string    `json:"token"`
	Service   string    `json:"service"`
	ExpiresAt time.Time `json:"expires_at"`
}

// IssueRequest asks, as an operator, for a certificate of a service.
type IssueRequest struct {
	Service string   `json:"service"`
	CSR     []byte   `json:"csr"`
	TTL     Duration `json:"ttl,omitempty"` // shorter than the profile's, or 0
}

// Certificate is one row of the ledger.
type Certificate struct {
	Serial    certs.Serial `json:"serial"`
	Kind      string       `json:"kind"` // service, operator, server, ocsp, feed, issuer
	Service   string       `json:"service,omitempty"`
	ID        certs.ID     `json:"id"`
	DNSNames  []string     `json:"dns_names,omitempty"`
	IPs       []string     `json:"ips,omitempty"`
	Issuer    string       `json:"issuer"` // the issuer's subject key identifier
	Profile   string       `json:"profile"`
	NotBefore time.Time    `json:"not_before"`
	NotAfter  time.Time    `json:"not_after"`
	IssuedAt  time.Time    `json:"issued_at"`
	Method    string       `json:"method"` // how it was asked for: token, jwk, x5c, oidc, renew, rekey, operator, internal
	Status    string       `json:"status"` // valid, expired, revoked, held
	RevokedAt *time.Time   `json:"revoked_at,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	DER       []byte       `json:"der,omitempty"` // only when one certificate is asked for
}

// CertificateList is a page. Query parameters: service, kind, status (valid, expired,
// revoked, held), expiring (a duration from now), q (part of a name, a serial's
// beginning), limit, cursor.
type CertificateList struct {
	Certificates []Certificate `json:"certificates"`
	Next         string        `json:"next,omitempty"` // the cursor of the next page
}

// RevokeRequest names exactly one of Serial, Certificate, Service, ID and AllServices.
// Reason says what is done: certificateHold puts on hold, removeFromCRL releases what is
// on hold, and every other reason revokes for good.
type RevokeRequest struct {
	Serial      certs.Serial `json:"serial,omitzero"`
	Certificate []byte       `json:"certificate,omitempty"`  // DER
	Service     string       `json:"service,omitempty"`      // every live certificate of it
	ID          certs.ID     `json:"id,omitzero"`            // every live certificate of a service's or an operator's identity
	AllServices bool         `json:"all_services,omitempty"` // every service's; needs IssuedBefore
	Issuer      string       `json:"issuer,omitempty"`       // key id of an issuing CA: its own certificate, for good

	// IssuedBefore keeps to certificates that were issued before, but for a Serial, a Certificate or an Issuer.
	IssuedBefore time.Time    `json:"issued_before,omitzero"`
	Reason       certs.Reason `json:"reason"`
	DryRun       bool         `json:"dry_run,omitempty"` // only say what would be hit
}

// RevokeResult lists what is now (or, in a dry run, would be) revoked, held or released.
// Already lists what was so, or revoked for good, before and is unchanged.
type RevokeResult struct {
	Revoked  []Certificate `json:"revoked"`
	Already  []Certificate `json:"already,omitempty"`
	Total    int           `json:"total"`    // how many Revoked stands for: it lists the first 1000
	Sequence uint64        `json:"sequence"` // the revocation log's number of the last entry
	DryRun   bool          `json:"dry_run,omitempty"`
	// Affected is how many live certificates an issuing CA signed, which nobody accepts after it is revoked.
	Affected int `json:"affected,omitempty"`
}

// Service is a registered service.
type Service struct {
	Name     string   `json:"name"`
	ID       certs.ID `json:"id,omitzero"` // set by the CA
	DNSNames []string `json:"dns,omitempty"`
	IPs      []string `json:"ips,omitempty"`
	Callers  []string `json:"callers,omitempty"` // names of services, or "*"
	Profile  string   `json:"profile,omitempty"` // "" is the default profile
	TTL      Duration `json:"ttl,omitempty"`     // 0 is the profile's
	// MaxSilence is how long its agents go on without a fresh statement of the feed before
	// they refuse everybody; 0: until the statement's own nextUpdate.
	MaxSilence Duration  `json:"max_silence,omitempty"`
	Version    uint64    `json:"version,omitempty"` // set by the CA; sent back in If-Match to refuse lost updates
	Created    time.Time `json:"created,omitzero"`
	Updated    time.Time `json:"updated,omitzero"`
}

// ServiceList is a page; query parameters: limit, cursor, q.
type ServiceList struct {
	Services []Service `json:"services"`
	Next     string    `json:"next,omitempty"`
}

// ApplyRequest replaces or creates services in one transaction.
type ApplyRequest struct {
	Services []Service `json:"services"`
	Prune    bool      `json:"prune,omitempty"`   // remove what is not named
	DryRun   bool      `json:"dry_run,omitempty"` // only say what would change
}

// ApplyResult names what changed.
type ApplyResult struct {
	Created   []string `json:"created"`
	Updated   []string `json:"updated"`
	Unchanged []string `json:"unchanged"`
	Removed   []string `json:"removed"`
	DryRun    bool     `json:"dry_run,omitempty"`
}

// OperatorRequest registers an operator and issues the first certificate for the key in CSR.
type OperatorRequest struct {
	Name     string   `json:"name"`
	Role     string   `json:"role"`               // admin, issuer, reader
	Services []string `json:"services,omitempty"` // for issuer: the services it may act for
	CSR      []byte   `json:"csr"`
}

// Operator is a registered operator.
type Operator struct {
	Name     string    `json:"name"`
	ID       certs.ID  `json:"id"`
	Role     string    `json:"role"`
	Services []string  `json:"services,omitempty"`
	Created  time.Time `json:"created"`
}

// OperatorList is every operator.
type OperatorList struct {
	Operators []Operator `json:"operators"`
}
