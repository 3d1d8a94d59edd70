package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

// Limits of a set of CRLs.
const (
	maxCRLs     = 256
	maxCRLSize  = 64 << 20 // bytes of one DER CRL: about 1.7 million entries
	maxCRLTotal = 90 << 20 // bytes of all of them, so that a snapshot stays under its own limit
)

// clockSkew is how far in the future a CRL may be dated.
const clockSkew = 5 * time.Minute

// Revocation is what this process knows of revoked certificates: the full CRLs of the
// issuers that it meets, the CA's feed, or both. It is immutable
// and safe for concurrent use. A nil Revocation knows nothing, so every peer is refused.
type Revocation struct {
	given    [][]byte // what it was made of, in that order
	crls     []*crl   // what of it is in force
	byIssuer map[issuerKey]*crl

	view       *feed.View
	maxSilence time.Duration
	feedDigest [sha256.Size]byte // of what view was decoded from; zero when it was not
}

// issuerKey names an issuer by both its name and its key: one name may have had several keys.
type issuerKey struct{ name, keyID string }

// NewRevocation reads full CRLs in DER (RFC 5280, section 5). Refused are deltas,
// partitioned and indirect CRLs (by their extensions: taken for a full one they would
// hide revocations), unknown critical extensions, a CRL without CRLNumber, authority key
// identifier or nextUpdate, and sizes over 64 MiB each or 90 MiB together. Of several CRLs of
// one issuer the one with the highest number counts.
//
// Signatures are checked at verification, against the issuer in the peer's path, once for each
// issuer; a CRL whose signature is wrong leaves its issuer's certificates refused.
// The DER is kept and must not be changed afterwards. No CRLs at all are allowed: then only
// certificates without a CRL distribution point, and those that a feed covers (WithFeed), are accepted.
func NewRevocation(crls [][]byte, opts ...RevocationOption) (*Revocation, error) {
	if len(crls) > maxCRLs {
		return nil, fmt.Errorf("%d CRLs; at most %d are allowed", len(crls), maxCRLs)
	}
	total := 0
	r := &Revocation{given: crls, byIssuer: make(map[issuerKey]*crl, len(crls))}
	for i, der := range crls {
		if total += len(der); total > maxCRLTotal {
			return nil, fmt.Errorf("CRLs have over %d bytes together", maxCRLTotal)
		}
		parsed, err := parseCRL(der)
		if err != nil {
			return nil, fmt.Errorf("CRL %d: %w", i+1, err)
		}
		key := issuerKey{string(parsed.issuer), string(parsed.keyID)}
		if old := r.byIssuer[key]; old == nil || old.number.Cmp(parsed.number) < 0 {
			r.byIssuer[key] = parsed
		}
	}
	for _, kept := range r.byIssuer {
		r.crls = append(r.crls, kept)
	}
	slices.SortFunc(r.crls, func(a, b *crl) int { return slices.Compare(a.keyID, b.keyID) })
	for _, opt := range opts {
		opt(r)
	}
	return r, nil
}

// Numbers returns the CRLNumber in force for each issuer, by its key identifier in
// lower-case hexadecimal.
func (r *Revocation) Numbers() map[string]*big.Int {
	numbers := make(map[string]*big.Int)
	if r == nil {
		return numbers
	}
	for _, c := range r.crls {
		keyID := hex.EncodeToString(c.keyID)
		if old := numbers[keyID]; old == nil || old.Cmp(c.number) < 0 {
			numbers[keyID] = new(big.Int).Set(c.number)
		}
	}
	return numbers
}

// CRLs returns the DER of the CRLs in force. It is shared: do not change it.
func (r *Revocation) CRLs() [][]byte {
	if r == nil {
		return nil
	}
	ders := make([][]byte, 0, len(r.crls))
	for _, c := range r.crls {
		ders = append(ders, c.der)
	}
	return ders
}

// madeOf reports whether r was made of exactly these CRLs.
func (r *Revocation) madeOf(ders [][]byte) bool {
	return r != nil && slices.EqualFunc(r.given, ders, bytes.Equal)
}

// NextUpdate returns when the first of what r needs goes stale, the feed or a CRL of an issuer that
// the feed does not cover; zero when there is nothing.
func (r *Revocation) NextUpdate() time.Time {
	var next time.Time
	if r == nil {
		return next
	}
	if r.view != nil {
		next = r.view.Until(r.maxSilence)
	}
	for _, c := range r.crls {
		if r.view.Covers(hex.EncodeToString(c.keyID)) {
			continue
		}
		if next.IsZero() || c.nextUpdate.Before(next) {
			next = c.nextUpdate
		}
	}
	return next
}

// check holds every certificate of a verified path but the root against the feed or its issuer's CRL. That
// one of them is revoked goes before everything else: a connection may outlast a list that has
// gone stale, but not a revocation. What is certain goes before what has to be confirmed.
func (r *Revocation) check(path []*x509.Certificate, now time.Time) *Refusal {
	if r == nil {
		return refuse(CauseRevocationUnknown, path[0], now, errors.New("there is no revocation data at all, so no peer is trusted"))
	}
	var first *Refusal
	for i, cert := range path[:len(path)-1] {
		refusal := r.checkOne(cert, path[i+1], now)
		if refusal != nil && (first == nil || refusal.Cause == CauseRevoked && (first.Cause != CauseRevoked || first.Unconfirmed)) {
			first = refusal
		}
	}
	return first
}

func (r *Revocation) checkOne(cert, issuer *x509.Certificate, now time.Time) *Refusal {
	keyID, covered := r.covers(issuer)
	if refusal := r.foundByFeed(cert, keyID, now); refusal != nil {
		return refusal
	}
	if covered {
		return r.checkByFeed(cert, issuer, now)
	}
	list := r.listOf(issuer)
	if needsNoRevocation(cert) {
		return list.refuses(cert, issuer, now) // nobody has to know it, but we may
	}
	if list == nil {
		if len(cert.CRLDistributionPoints) == 0 {
			return nil
		}
		return refuse(CauseRevocationUnknown, cert, now, fmt.Errorf("there is no CRL of %q (key %x), which issued %s", issuer.Subject, issuer.SubjectKeyId, describe(cert)))
	}
	if err := list.verifiedBy(issuer); err != nil {
		return refuse(CauseRevocationUnknown, cert, now, fmt.Errorf("the CRL of %q cannot be used: %w", issuer.Subject, err))
	}
	if refusal := list.refuses(cert, issuer, now); refusal != nil {
		return refusal
	}
	if err := list.fresh(now); err != nil {
		return refuse(CauseRevocationStale, cert, now, fmt.Errorf("the CRL of %q is %w", issuer.Subject, err))
	}
	return nil
}

// listOf returns the CRL of issuer; nil when there is none.
func (r *Revocation) listOf(issuer *x509.Certificate) *crl {
	return r.byIssuer[issuerKey{string(issuer.RawSubject), string(issuer.SubjectKeyId)}]
}

// needsNoRevocation tells whether cert promises by noRevAvail that nobody has to know whether it
// is revoked. Beside a pointer to what would say so, it contradicts itself (RFC 9608, section 4) and counts for nothing.
func needsNoRevocation(cert *x509.Certificate) bool {
	return len(cert.CRLDistributionPoints) == 0 && len(cert.OCSPServer) == 0 && hasExtension(cert, oidNoRevAvail)
}

// refuses refuses cert when the CRL, if there is one and its signature is right, lists it. Its
// age does not matter for that.
func (c *crl) refuses(cert, issuer *x509.Certificate, now time.Time) *Refusal {
	if c == nil || c.verifiedBy(issuer) != nil {
		return nil
	}
	entry, revoked := c.find(cert.SerialNumber)
	if !revoked {
		return nil
	}
	return refuse(CauseRevoked, cert, now, fmt.Errorf("%s was revoked at %s (%s), says CRL %v of %q", describe(cert), stamp(entry.at), entry.reason, c.number, issuer.Subject))
}
