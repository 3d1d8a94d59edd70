package ca

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

// Claim is what an enrolment token proved: the service it is for, and how. Only package
// ca/enroll makes one, from a token that it has verified.
type Claim struct {
	Service string
	Method  Method   // MethodToken, MethodJWK, MethodX5C or MethodOIDC
	OneTime *OneTime // nil: the token may be used again until it expires
	By      string   // the token's id or the platform identity, for the ledger
}

// Peer is a client whose certificate Authenticate accepted.
type Peer struct {
	ID          certs.ID
	Kind        Kind   // KindService or KindOperator
	Name        string // the service's or the operator's
	Certificate *x509.Certificate
	Serial      certs.Serial

	path *path
}

// Issuer is the key identifier of who signed the certificate, in hexadecimal digits, "" where nobody was authenticated.
func (p Peer) Issuer() string {
	if p.path == nil {
		return ""
	}
	return p.path.issuer
}

// Issued is a certificate that is durable in the ledger, and what goes with it.
type Issued struct {
	Chain       [][]byte // DER: the leaf, then its intermediates, without the root
	Roots       [][]byte // DER
	RenewAfter  time.Time
	Grace       time.Duration // how long after its expiry the certificate may be rekeyed
	Certificate Certificate
	Replayed    bool // an idempotency key led to a certificate from before
}

// Publisher shows revocations to the world. *revocation.Publisher is one. Its methods are
// safe for concurrent use.
type Publisher interface {
	// Sync shows what is new in the log, in OCSP at once and in a CRL within a second.
	Sync(ctx context.Context) error
	SetResponder(issuer string, responder revocation.ResponseSigner)
	// Revoked returns the entry that revokes or holds a certificate, also of a CRL that was
	// made elsewhere, such as the root's.
	Revoked(issuer string, serial certs.Serial) (revocation.Entry, bool)
	// CRLs returns the newest full CRL of each issuer.
	CRLs() []revocation.CRL
	// Changed is closed at the next publication.
	Changed() <-chan struct{}
	// Healthy says why publication is late, or nil.
	Healthy(now time.Time) error
}
