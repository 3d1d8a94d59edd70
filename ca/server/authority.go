package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

// Authority is what the server needs of the CA; *ca.CA is one. All methods are safe for
// concurrent use. An error that the caller may see is, or wraps, an *api.Error; every
// other one is internal. What an issuing or revoking method returns is durable.
type Authority interface {
	Identities
	Issuance
	Services
	Records

	// Standing says why a certificate that was authenticated before is refused now, or nil. It
	// looks into memory only.
	Standing(issuerID string, serial certs.Serial) error
	// Remains is Standing for the peer and its issuers.
	Remains(peer ca.Peer) error
	// Entitled is the rest of Authenticate for a service that it accepted before and that Remains accepts.
	Entitled(ctx context.Context, peer ca.Peer) error
	// Basis is equal for as long as Entitled says the same of a peer.
	Basis(ctx context.Context) (ca.Basis, error)
	// RevocationOf says exactly whether a certificate is revoked or on hold; one that the
	// ledger does not know is not found. Its Sequence is 0 when it is neither.
	RevocationOf(ctx context.Context, issuerID string, serial certs.Serial) (api.RevocationState, error)
	// AgentState is what the agent of the service peer enforces.
	AgentState(ctx context.Context, peer ca.Peer) (api.AgentState, error)
	TrustDomain() certs.TrustDomain
	// Bundle is the roots to trust, as of now.
	Bundle() api.Bundle
	// IssuerCertificate finds one of the CA's issuers by its subject key identifier.
	IssuerCertificate(issuerID string) (*x509.Certificate, bool)
	// Ready lists what keeps the CA from issuing, in words; nothing means ready.
	Ready(ctx context.Context) []string
	// ServerCertificate issues the API's own certificate; the chain ends with the root.
	ServerCertificate(ctx context.Context, dns []string, ips []netip.Addr) (*tls.Certificate, error)
}

// Identities says who is asking. It fails closed.
type Identities interface {
	// Authenticate is called for each request, not only for each connection: it checks
	// the chain against the clock, the revocations and the ledger as they are now.
	Authenticate(ctx context.Context, chain []*x509.Certificate) (ca.Peer, error)
	// Operator returns the registered operator that peer is, with today's role.
	Operator(ctx context.Context, peer ca.Peer) (policy.Operator, error)
}

// Issuance makes certificates. idem is "" or a checked idempotency key, which the
// authority scopes by who asks.
type Issuance interface {
	Enroll(ctx context.Context, claim ca.Claim, csr []byte, idem string) (*ca.Issued, error)
	Renew(ctx context.Context, peer ca.Peer, csr []byte, idem string) (*ca.Issued, error)
	Rekey(ctx context.Context, request *api.RekeyRequest, idem string) (*ca.Issued, error)
	Issue(ctx context.Context, actor policy.Operator, request api.IssueRequest, idem string) (*ca.Issued, error)
	RenewOperator(ctx context.Context, peer ca.Peer, csr []byte, idem string) (*ca.Issued, error)
	AddOperator(ctx context.Context, actor policy.Operator, request api.OperatorRequest) (*ca.Issued, error)
	// AuthorizeToken says whether actor may mint an enrolment token for a registered service.
	AuthorizeToken(ctx context.Context, actor policy.Operator, service string) error
}

// Services is the registry, with authorization by actor's role inside.
type Services interface {
	Service(ctx context.Context, actor policy.Operator, name string) (policy.Service, error)
	Services(ctx context.Context, actor policy.Operator, search, cursor string, limit int) ([]policy.Service, string, error)
	PutService(ctx context.Context, actor policy.Operator, service policy.Service, version uint64) (policy.Service, error)
	DeleteService(ctx context.Context, actor policy.Operator, name string, version uint64) error
	ApplyServices(ctx context.Context, actor policy.Operator, services []policy.Service, prune, dryRun bool) (ca.Applied, error)
}

// Records is the ledger as operators see and change it, with authorization by actor's role inside.
type Records interface {
	Certificate(ctx context.Context, actor policy.Operator, serial certs.Serial) (ca.Certificate, error)
	Certificates(ctx context.Context, actor policy.Operator, query ca.CertificateQuery) ([]ca.Certificate, string, error)
	Revoke(ctx context.Context, actor policy.Operator, request api.RevokeRequest) (ca.RevokeOutcome, uint64, error)
	Operators(ctx context.Context, actor policy.Operator) ([]policy.Operator, error)
	DeleteOperator(ctx context.Context, actor policy.Operator, name string) error
	// Status leaves Name, Version and StartedAt to the server.
	Status(ctx context.Context, actor policy.Operator) (api.Status, error)
}

// Tokens verifies and mints enrolment tokens; *enroll.Enroller is one.
type Tokens interface {
	Verify(ctx context.Context, token string) (ca.Claim, error)
	Mint(service string, ttl time.Duration) (token string, expires time.Time, err error)
}

// Revocations is what the publisher has published; *revocation.Publisher is one.
type Revocations interface {
	ServeFastHTTP(ctx *fasthttp.RequestCtx) // the public paths: /crl/... and /ocsp...
	// AppendOCSP answers an OCSP request, DER, without conditions: header fields from Content-Type on, and the body.
	AppendOCSP(dst, request []byte, now time.Time) []byte
	CRL(issuer string) (revocation.CRL, bool)
	Respond(request []byte) []byte // to an OCSP request, DER
}
