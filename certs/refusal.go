package certs

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Cause says, in one stable word, why a peer or this process itself was refused.
// The set is small, so that a metric may carry it.
type Cause string

// The causes.
const (
	CauseNoCertificate      Cause = "no_certificate"       // the peer sent none
	CauseExpired            Cause = "expired"              // of the peer or of one of its issuers
	CauseNotYetValid        Cause = "not_yet_valid"        // often a wrong clock, here or there
	CauseUnknownAuthority   Cause = "unknown_authority"    // no path to a root of the bundle
	CauseBadChain           Cause = "bad_chain"            // a path that RFC 5280 or the limits here forbid
	CauseNoIdentity         Cause = "no_identity"          // no SPIFFE ID, several, or a malformed one
	CauseForeignTrustDomain Cause = "foreign_trust_domain" // an identity that the bundle may not vouch for
	CauseRevoked            Cause = "revoked"              // the peer or one of its issuers
	CauseRevocationUnknown  Cause = "revocation_unknown"   // no usable CRL of an issuer in the path
	CauseRevocationStale    Cause = "revocation_stale"     // the CRL is past its nextUpdate, or dated in the future
	CauseStapleMissing      Cause = "staple_missing"       // the certificate demands a staple, and none came
	CauseStapleInvalid      Cause = "staple_invalid"       // a staple came that is not fresh, sound and about the certificate
	CausePolicyDenied       Cause = "policy_denied"        // policy is known and does not allow the peer
	CausePolicyUnknown      Cause = "policy_unknown"       // there is no policy, so nobody is allowed
	CauseWrongIdentity      Cause = "wrong_identity"       // a sound peer, but not the one that was dialled
	CauseOwnCertificate     Cause = "own_certificate"      // this process has nothing valid to show
)

// Refusal is why a handshake or a chain was refused. Every error of Verify and
// VerifyChain is one, and so is every refusal inside a handshake of ServerConfig
// and ClientConfig. It never holds key material, so it may be logged whole.
type Refusal struct {
	Cause  Cause
	Peer   ID     // the identity that the peer showed; zero when none could be read
	Self   ID     // this process's own identity; zero when unknown
	Serial Serial // of the certificate at fault; zero when there is none
	// NotBefore and NotAfter are the validity of the certificate at fault.
	NotBefore, NotAfter time.Time
	Clock               time.Time // this host's clock at the decision
	// Unconfirmed, with CauseRevoked, says that only the certificate's hash was found, in the
	// compact set of the CA's feed. Ask the CA about IssuerKeyID and Serial, and then feed.View.Except.
	Unconfirmed bool
	IssuerKeyID string // of who signed the certificate, in lower-case hexadecimal; with Unconfirmed only
	Err         error  // the details
}

// Error names the cause, both identities, the certificate and, when time is the
// matter, its validity and this host's clock.
func (r *Refusal) Error() string {
	var b strings.Builder
	switch {
	case r.Cause == CauseOwnCertificate:
		b.WriteString("own certificate cannot be used")
	case r.Peer.IsZero():
		b.WriteString("peer refused")
	default:
		fmt.Fprintf(&b, "peer %s refused", r.Peer)
	}
	if !r.Self.IsZero() {
		fmt.Fprintf(&b, " by %s", r.Self)
	}
	fmt.Fprintf(&b, ": %s", r.Cause)
	if r.Err != nil {
		fmt.Fprintf(&b, ": %v", r.Err)
	}
	if !r.Serial.IsZero() {
		fmt.Fprintf(&b, " (serial %s", r.Serial)
		if r.aboutTime() {
			fmt.Fprintf(&b, ", valid %s to %s, clock here %s", stamp(r.NotBefore), stamp(r.NotAfter), stamp(r.Clock))
		}
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns Err.
func (r *Refusal) Unwrap() error { return r.Err }

func (r *Refusal) aboutTime() bool {
	switch r.Cause {
	case CauseExpired, CauseNotYetValid, CauseOwnCertificate, CauseRevocationStale:
		return true
	default:
		return false
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// errNoClientCertificate is what crypto/tls says, for want of a type, when a client
// sent no certificate.
const errNoClientCertificate = "tls: client didn't provide a certificate"

// HandshakeRefusal returns the refusal inside the error of a handshake, or nil when
// the handshake failed for another reason (the network, the protocol, the other side).
// It also knows the one refusal that crypto/tls decides by itself before
// VerifyConnection runs: CauseNoCertificate, without identities or a clock.
func HandshakeRefusal(err error) *Refusal {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	if err != nil && strings.Contains(err.Error(), errNoClientCertificate) {
		return &Refusal{Cause: CauseNoCertificate, Err: err}
	}
	return nil
}
