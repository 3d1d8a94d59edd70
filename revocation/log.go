// Package revocation publishes what is revoked: CRLs (full, delta, partitioned) and
// OCSP responses, both folded from one ordered log. Package certs checks what this
// package publishes.
//
// Everything in a CRL follows from the log up to the entry whose sequence number is its
// CRLNumber: what it lists, the base of its delta, and its times. So numbers rise
// across restarts, and replicas on one log never make two lists with one number.
// A full CRL, its delta and their partitions that are made at the same time share it
// (RFC 5280, section 5.2.4).
//
// Whatever is uncertain fails closed: a log that cannot be read, a missing or expired
// responder make OCSP answer tryLater, never good.
package revocation

import (
	"context"
	"time"

	"github.com/handfast/handfast/certs"
)

// Kind says what an entry of the log does.
type Kind uint8

// The kinds of entry. Stores keep the number: never renumber.
const (
	// Revoked puts a serial on the list.
	Revoked Kind = 1
	// Published changes nothing but uses up a number, so that two CRLs of different
	// times never share a CRLNumber (RFC 5280, section 5.2.3).
	Published Kind = 2
	// Held puts a serial on the list until it is released or revoked for good.
	Held Kind = 3
	// Released takes a serial that was on hold off the list.
	Released Kind = 4
)

// KindOf returns what an entry with reason does: certificateHold holds and removeFromCRL
// releases (RFC 5280, section 5.3.1); every other reason revokes for good.
func KindOf(reason certs.Reason) Kind {
	switch reason {
	case certs.CertificateHold:
		return Held
	case certs.RemoveFromCRL:
		return Released
	default:
		return Revoked
	}
}

// Entry is one event in the log. What a serial's newest entry says is its state: Revoked
// is final, Held and Released may follow each other and end in Revoked. Entries are never changed; one is dropped only
// after the certificate has expired and a CRL past its expiry was published.
type Entry struct {
	Sequence uint64 // from 1, rising; also the CRLNumber of what is published with it
	Kind     Kind
	Issuer   string       // the issuer's subject key identifier, lower-case hexadecimal
	Serial   certs.Serial // zero for Published
	Reason   certs.Reason
	At       time.Time // UTC, whole seconds: what CRL and OCSP show as the revocation's time
	NotAfter time.Time // the certificate's expiry
}

// Log is the ledger's part that this package reads. Implementations are safe for
// concurrent use; what they return is durable.
type Log interface {
	// Entries returns at most limit entries with a Sequence above after, in order. An
	// entry never appears behind one with a higher Sequence that was returned before.
	Entries(ctx context.Context, after uint64, limit int) ([]Entry, error)
	// AppendPublished appends a Published entry for issuer and returns its sequence number.
	AppendPublished(ctx context.Context, issuer string, at time.Time) (uint64, error)
	// Issued reports whether issuer has ever signed serial, as far as the ledger
	// remembers. OCSP answers "unknown" where it has not.
	Issued(ctx context.Context, issuer string, serial certs.Serial) (bool, error)
}
