package ca

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"time"

	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

// Errors that a Ledger returns, possibly wrapped. Anything else is a fault of the
// store: nothing was made durable as far as the caller may assume, and nothing leaves.
var (
	ErrNotFound     = errors.New("not found")
	ErrConflict     = errors.New("changed meanwhile or exists already")
	ErrTokenUsed    = errors.New("one-time token was used before")
	ErrSerialExists = errors.New("serial exists already")
	ErrKeyReused    = errors.New("idempotency key came before with another request")
	ErrRevoked      = errors.New("certificate is revoked")
	ErrHeld         = errors.New("certificate is on hold")
	ErrNotHeld      = errors.New("certificate is not on hold")
	// ErrKeyCompromised is about a key whose certificate was revoked for keyCompromise.
	ErrKeyCompromised = errors.New("key is known to be compromised")
)

// Kind says what a certificate is for.
type Kind string

// The kinds of certificate in the ledger.
const (
	KindService  Kind = "service"
	KindOperator Kind = "operator"
	KindServer   Kind = "server"
	KindOCSP     Kind = "ocsp"
	KindFeed     Kind = "feed"   // who signs the feed of revocations
	KindIssuer   Kind = "issuer" // an issuing CA itself; recorded when it is revoked
)

// Method says how a certificate was asked for.
type Method string

// The methods.
const (
	MethodToken    Method = "token" // native one-time token
	MethodJWK      Method = "jwk"
	MethodX5C      Method = "x5c"
	MethodOIDC     Method = "oidc"
	MethodRenew    Method = "renew"
	MethodRekey    Method = "rekey"
	MethodOperator Method = "operator" // issued by an operator for a service
	MethodInternal Method = "internal" // the CA's own: server, OCSP responder, first operator
)

// Certificate is a row of the ledger.
type Certificate struct {
	Serial    certs.Serial
	Kind      Kind
	Name      string // the service's or the operator's name
	ID        certs.ID
	Issuer    string // the issuer's subject key identifier, lower-case hexadecimal
	Profile   string
	Method    Method
	By        string // who asked: an identity, or a token's id
	NotBefore time.Time
	NotAfter  time.Time
	IssuedAt  time.Time
	DER       []byte

	// Set by the ledger when read: the newest entry about it if that revokes or holds it.
	Revocation *revocation.Entry
}

// KeyDigest is the SHA-256 of a certificate's SubjectPublicKeyInfo, as issuer.PublicKey.Digest
// returns it; false if der is no certificate.
func KeyDigest(der []byte) ([sha256.Size]byte, bool) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return [sha256.Size]byte{}, false
	}
	return sha256.Sum256(certificate.RawSubjectPublicKeyInfo), true
}

// OneTime is an id that is used up together with the issuance it allows: a token's
// or a rekey request's nonce.
type OneTime struct {
	ID        string    // "kind:value", at most 512 bytes; it may be Placed
	ExpiresAt time.Time // when the ledger may forget it: not before the token itself has expired
}

// Idempotency makes a repeated request return the first one's certificate.
type Idempotency struct {
	Key       string   // scoped by the caller: who asks, then the header's value; it may be Placed
	Digest    [32]byte // of the request; another digest with the same key is ErrKeyReused
	ExpiresAt time.Time
}

// Guard is what the decision to issue rests on. The ledger looks again in the
// transaction that records, so that nothing changes between the two. A zero field asks nothing.
type Guard struct {
	Serial         certs.Serial // the certificate that asks: ErrNotFound when it is not recorded, ErrRevoked when it is revoked, ErrHeld when it is on hold
	Service        string       // ErrConflict unless it is registered with this very version
	ServiceVersion uint64
	Operator       string            // ErrConflict unless it is registered
	Key            [sha256.Size]byte // the new certificate's, see KeyDigest: ErrKeyCompromised when another one with it was revoked for keyCompromise
}

// Issuance is what one issuance makes durable, all of it or nothing.
type Issuance struct {
	Certificate Certificate
	OneTime     *OneTime     // nil: nothing to use up
	Idempotency *Idempotency // nil: not asked for
	Guard       Guard
}

// The values of CertificateQuery.Status. Those that are revoked or on hold are neither valid nor expired.
const (
	StatusValid   = "valid"
	StatusExpired = "expired"
	StatusRevoked = "revoked"
	StatusHeld    = "held"
)

// ErrBadCursor is the answer to a cursor that no page gave.
var ErrBadCursor = errors.New("the cursor is not one that a page gave")

// CertificateQuery selects a page of a listing, newest first.
type CertificateQuery struct {
	Name          string    // "" is any
	Kind          Kind      // "" is any
	Status        string    // "" is any
	ExpiresBefore time.Time // zero is any
	Search        string    // part of a name, or the beginning of a serial
	Now           time.Time // what valid and expired are measured against
	Limit         int
	Cursor        string // from the page before
}

// RevokeSelection names what to revoke: exactly one of Serial, Service (its every live
// certificate), Operator (likewise) and AllServices.
type RevokeSelection struct {
	Serial      certs.Serial
	Service     string
	Operator    string
	AllServices bool

	// IssuedBefore keeps to what was recorded as issued before that second; zero is any. Not with Serial.
	IssuedBefore time.Time
	// ExpiresAfter is what live means but for Serial: expiring then or later.
	// It lies before now by the longest grace, because within it a certificate can be rekeyed.
	ExpiresAfter time.Time
	// Record is recorded first, in the same transaction, when the ledger does not know
	// Serial: a certificate from after the backup that was restored, or an issuing CA's own.
	// Nil: ErrNotFound then.
	Record *Certificate
}

// MaxOutcome is how many certificates each list of a RevokeOutcome holds at most.
const MaxOutcome = 1000

// RevokeOutcome is what a revocation did, in the order of the log.
type RevokeOutcome struct {
	Revoked  []Certificate // now revoked, held or released by this call (or, in a dry run, would be); the first MaxOutcome
	Already  []Certificate // unchanged, because they were in that state, or revoked for good, before; the first MaxOutcome
	Total    int           // how many Revoked stands for
	Sequence uint64        // the last entry of the log about any of them; 0 is none
	Affected int           // of an issuing CA: the live certificates that it signed; the CA sets it
}

// Counts are the totals that status shows.
type Counts struct {
	Services int
	Live     int
	Revoked  int // for good
	Held     int
}

// Ledger is what the CA records, and the only truth about it. Every method is safe
// for concurrent use. A method that changes something returns only after it is
// durable (fsync): a crash after the return loses nothing, a crash before it leaves
// all of the change or none. Concurrent changes may share one commit.
type Ledger interface {
	revocation.Log

	// RecordIssuance makes an issuance durable. When Idempotency.Key came before
	// with the same digest, nothing is recorded and the first certificate is returned
	// with replayed true. Errors: ErrTokenUsed, ErrSerialExists, ErrKeyReused, and Guard's.
	RecordIssuance(ctx context.Context, issuance Issuance) (recorded Certificate, replayed bool, err error)
	// Replay returns what Idempotency.Key led to before: ErrNotFound when it is new, ErrKeyReused when the digest differs.
	Replay(ctx context.Context, key string, digest [32]byte) (Certificate, error)
	// Certificate returns one row. Errors: ErrNotFound.
	Certificate(ctx context.Context, serial certs.Serial) (Certificate, error)
	// Certificates returns a page and the next page's cursor, "" at the end.
	Certificates(ctx context.Context, query CertificateQuery) ([]Certificate, string, error)
	// Revoke appends to the revocation log in one transaction. reason says what it does
	// (revocation.KindOf): certificateHold holds, removeFromCRL releases what is on hold,
	// every other revokes for good, also what is on hold. What is revoked stays so.
	// keyCompromise makes the certificate's key known to Guard, for ever. A serial that the ledger
	// does not know is ErrNotFound, one that is revoked and shall be held or released
	// ErrRevoked, one that shall be released and never was on hold ErrNotHeld. Of several,
	// those that are revoked stand among Already, and a release is only about those that
	// were ever on hold; a service without live certificates is an empty outcome.
	Revoke(ctx context.Context, selection RevokeSelection, reason certs.Reason, at time.Time, by string, dryRun bool) (RevokeOutcome, error)
	// Purge deletes at most limit rows (certificates, one-time ids, idempotency keys, log entries, agents) of what
	// expired before the given time, and returns how many it deleted. A revocation stays until its
	// certificate has expired before that time and a Published entry later than the expiry stands in the log.
	Purge(ctx context.Context, before time.Time, limit int) (int, error)
	// Counts returns totals as of now.
	Counts(ctx context.Context, now time.Time) (Counts, error)
	// Signed counts what an issuer signed that expires then or later and is neither revoked nor on hold.
	Signed(ctx context.Context, issuer string, expiresAfter time.Time) (int, error)
	// Probe proves that the ledger can be written durably, by writing.
	Probe(ctx context.Context) error

	Registry
	AgentRecords
}

// AgentRow is what the ledger remembers of an agent, so that a CA that restarts knows who is
// silent. Its key is Service and ID.
type AgentRow struct {
	ID       string // made by the agent
	Service  string
	Issuer   string       // of the certificate that it showed last: subject key identifier, lower-case hexadecimal
	Serial   certs.Serial // of that certificate
	NotAfter time.Time    // of that certificate, whole seconds
	Version  string       // of its program
	Address  string       // that it came from
	Sequence uint64       // of the revocation log: what it enforces
	// EnforcedAt is when it said so, and SilentSince when it was last connected: zero when it was
	// at the time of saving. In milliseconds.
	EnforcedAt, SilentSince time.Time
	Stopped                 bool // it said that it stops
}

// AgentRecords is the ledger's part about agents. What is lost of it is learnt again: it is
// written now and then, and no decision to issue or to trust rests on it.
type AgentRecords interface {
	// SaveAgents creates or replaces rows, all or none, durably.
	SaveAgents(ctx context.Context, rows []AgentRow) error
	// Agents returns every row, by service and ID. Purge forgets those whose certificate
	// expired before its time.
	Agents(ctx context.Context) ([]AgentRow, error)
}

// Registry is the ledger's part about services and operators.
type Registry interface {
	Service(ctx context.Context, name string) (policy.Service, error)
	// Services returns a page by name and the next page's cursor, "" at the end. search is part of a name.
	Services(ctx context.Context, search, cursor string, limit int) ([]policy.Service, string, error)
	// PutService creates or replaces. version is the one the caller saw: 0 for "must not exist",
	// AnyVersion for "whatever is there". Errors: ErrConflict.
	PutService(ctx context.Context, service policy.Service, version uint64) (policy.Service, error)
	// DeleteService removes. Errors: ErrNotFound, ErrConflict.
	DeleteService(ctx context.Context, name string, version uint64) error
	// ApplyServices creates or replaces all in one transaction and, with prune, removes the others.
	ApplyServices(ctx context.Context, services []policy.Service, prune, dryRun bool, at time.Time) (Applied, error)
	// PolicyEpoch rises with every change to any service, durably.
	PolicyEpoch(ctx context.Context) (uint64, error)

	Operator(ctx context.Context, name string) (policy.Operator, error)
	Operators(ctx context.Context) ([]policy.Operator, error)
	// AddOperator fails with ErrConflict when the name is taken.
	AddOperator(ctx context.Context, operator policy.Operator) error
	// DeleteOperator fails with ErrNotFound, or with ErrConflict for the last admin.
	DeleteOperator(ctx context.Context, name string) error
}

// AnyVersion makes PutService and DeleteService overwrite whatever is there.
const AnyVersion = ^uint64(0)

// Applied names what ApplyServices changed.
type Applied struct {
	Created, Updated, Unchanged, Removed []string
}
