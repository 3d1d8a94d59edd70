package feed

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Limits of a statement.
const (
	maxStatementSize = 64 << 20 // bytes, signed: a snapshot of 11 million certificates
	maxVersions      = 64
	maxIssuers       = 64
	maxText          = 255 // octets of a trust domain, of a version's name and of its value
	maxKeyID         = 64  // octets
	maxSerial        = 20  // octets (RFC 5280, section 4.1.2.2)
)

// Kind says what an entry does to a certificate. Statements may hold entries of kinds that are
// not named here: those that their signer marked as critical make Open fail, others are passed over.
type Kind uint8

// The kinds that this version knows. The numbers are the revocation log's.
const (
	Revoked  Kind = 1 // for good
	Held     Kind = 3 // certificateHold: refused until it is released
	Released Kind = 4 // no longer held
)

// Entry is a change of one certificate's state.
type Entry struct {
	Sequence uint64 // position in the feed
	Kind     Kind
	Issuer   string    // subject key identifier of who signed the certificate, in lower-case hexadecimal
	Serial   []byte    // big-endian magnitude, without leading zeros, 1 to 20 octets
	Reason   uint8     // CRLReason (RFC 5280, section 5.3.1)
	At       time.Time // when it was revoked, held or released: whole seconds, UTC
	NotAfter time.Time // of the certificate: whole seconds, UTC
}

// Version tells which state of something else is current, so that a holder fetches what it
// does not have: "policy", "bundle", "crls". Names that are not known are carried along.
type Version struct{ Name, Value string }

// Statement is what the CA signs.
type Statement struct {
	TrustDomain string
	From, To    uint64    // for a holder at From or later; afterwards it stands at To
	SignedAt    time.Time // milliseconds, UTC
	NextUpdate  time.Time // milliseconds, UTC: not to be relied on afterwards
	Versions    []Version
	Issuers     []string // whose certificates the feed covers: subject key identifiers in lower-case hexadecimal
	Entries     []Entry  // From < Sequence <= To, rising
	Snapshot    *Set     // everything that is revoked or held at To; From is 0 and there are no Entries. Otherwise nil
}

// check holds a statement against everything that does not depend on its holder.
func (s *Statement) check() error {
	switch {
	case s.TrustDomain == "" || !isText(s.TrustDomain):
		return errors.New("the trust domain is missing or malformed")
	case s.To > math.MaxInt64 || s.From > s.To:
		return fmt.Errorf("it goes from %d to %d", s.From, s.To)
	case !s.NextUpdate.After(s.SignedAt):
		return errors.New("its nextUpdate is not after its date")
	case s.Snapshot != nil && (s.From != 0 || len(s.Entries) > 0):
		return errors.New("a snapshot begins at 0 and has no entries beside it")
	case len(s.Versions) > maxVersions || len(s.Issuers) > maxIssuers:
		return errors.New("it has too many versions or issuers")
	}
	for _, version := range s.Versions {
		if !isText(version.Name) || !isText(version.Value) {
			return errors.New("a version's name or value is malformed")
		}
	}
	for _, issuer := range s.Issuers {
		if _, err := keyID(issuer); err != nil {
			return err
		}
	}
	last := s.From
	for i := range s.Entries {
		if err := s.Entries[i].check(); err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
		if s.Entries[i].Sequence <= last {
			return fmt.Errorf("entry %d has sequence %d, after %d", i+1, s.Entries[i].Sequence, last)
		}
		last = s.Entries[i].Sequence
	}
	if last > s.To {
		return fmt.Errorf("an entry has sequence %d, but it goes to %d only", last, s.To)
	}
	return nil
}

func (e *Entry) check() error {
	switch {
	case e.Kind != Revoked && e.Kind != Held && e.Kind != Released:
		return fmt.Errorf("kind %d is not known here", e.Kind)
	case len(e.Serial) == 0 || len(e.Serial) > maxSerial || e.Serial[0] == 0:
		return errors.New("its serial is not 1 to 20 octets without a leading zero")
	case !wholeSeconds(e.At) || !wholeSeconds(e.NotAfter):
		return errors.New("a time of it is not in whole seconds since 1970")
	}
	_, err := keyID(e.Issuer)
	return err
}

// keyID reads a subject key identifier in lower-case hexadecimal: one spelling, so that equal means equal.
func keyID(issuer string) ([]byte, error) {
	octets, err := hex.DecodeString(issuer)
	if err != nil || len(octets) == 0 || len(octets) > maxKeyID || hex.EncodeToString(octets) != issuer {
		return nil, fmt.Errorf("issuer %q is no subject key identifier in lower-case hexadecimal", issuer)
	}
	return octets, nil
}

func isText(s string) bool { return len(s) <= maxText && utf8.ValidString(s) }

func wholeSeconds(t time.Time) bool { return t.Nanosecond() == 0 && t.Unix() >= 0 && t.Year() <= 9999 }
