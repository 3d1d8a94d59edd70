package feed

import (
	"fmt"
	"slices"
	"time"
)

const (
	// clockSkew is how far in the future a statement may be dated.
	clockSkew = 5 * time.Minute
	// reorderSkew is how much older than the last one a statement may be: two of them that are
	// signed at once may overtake each other.
	reorderSkew = 2 * time.Second
	// expiredFor is how long a certificate has to have been expired before a view forgets it.
	expiredFor = 24 * time.Hour
)

// View is what a holder of the feed knows. It is immutable and safe for concurrent use; a
// nil View knows nothing. In memory it is its Set and at most about a megabyte of single changes.
type View struct {
	domain     string
	sequence   uint64
	signedAt   time.Time
	nextUpdate time.Time
	versions   []Version
	issuers    []string

	set     *Set
	setAt   uint64    // everything up to this sequence is in the set and nowhere else
	based   time.Time // when the snapshot was signed that set comes from
	overlay overlay
}

// Finding is what a View knows of a certificate that it refuses.
type Finding struct {
	// Exact is false when only the certificate's hash was found, in the compact set: then the other members
	// are zero, and about once in 10^12 times it is another certificate's. A full check at the CA tells.
	Exact    bool
	Held     bool // it may be released again
	Reason   uint8
	At       time.Time
	Sequence uint64
}

// Apply returns what a holder knows after s, as of now (the clock here). v stays as it is. It refuses, so that
// nobody in between can cut out, repeat, reorder or hold back what the CA says: a statement that begins after v's
// position (ErrGap; for a nil v every one but a snapshot), that ends before it or is dated more than two seconds
// before the last one (ErrReplayed), of another trust domain (ErrDomain), dated in the future
// (ErrFuture) or past its nextUpdate (ErrStale). s is not kept, but what it points to is.
func (v *View) Apply(s *Statement, now time.Time) (*View, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("apply statement: %w", err)
	}
	if err := v.accepts(s, now); err != nil {
		return nil, err
	}
	next := View{domain: s.TrustDomain}
	if v != nil {
		next = *v
	}
	next.sequence = s.To
	if !s.SignedAt.Before(next.signedAt) {
		next.signedAt, next.nextUpdate = s.SignedAt, s.NextUpdate
		next.versions, next.issuers = s.Versions, s.Issuers
	}
	if s.Snapshot != nil {
		next.set, next.setAt, next.based, next.overlay = s.Snapshot, s.To, s.SignedAt, nil
		return &next, nil
	}
	items := make([]item, 0, len(s.Entries))
	for _, entry := range s.Entries {
		if entry.Sequence > v.sequence {
			items = append(items, item{hash: Hash(entry.Issuer, entry.Serial), Entry: entry})
		}
	}
	next.overlay = next.overlay.add(items)
	next.foldWhenFull()
	return &next, nil
}

// accepts tells whether s comes at the right place and time.
func (v *View) accepts(s *Statement, now time.Time) error {
	switch {
	case v != nil && s.TrustDomain != v.domain:
		return fmt.Errorf("%w: it is of %q, not of %q", ErrDomain, s.TrustDomain, v.domain)
	case v == nil && s.Snapshot == nil:
		return fmt.Errorf("%w: nothing is known here yet, so a snapshot is needed", ErrGap)
	case v != nil && s.Snapshot == nil && s.From > v.sequence:
		return fmt.Errorf("%w: it begins at %d, but only what happened up to %d is known here", ErrGap, s.From, v.sequence)
	case v != nil && s.To < v.sequence:
		return fmt.Errorf("%w: it ends at %d, but what happened up to %d is known here", ErrReplayed, s.To, v.sequence)
	case v != nil && s.SignedAt.Before(v.signedAt.Add(-reorderSkew)):
		return fmt.Errorf("%w: it was signed at %s, the last one at %s", ErrReplayed, stamp(s.SignedAt), stamp(v.signedAt))
	case now.Add(clockSkew).Before(s.SignedAt):
		return fmt.Errorf("%w: it was signed at %s, the clock here says %s", ErrFuture, stamp(s.SignedAt), stamp(now))
	case now.After(s.NextUpdate):
		return fmt.Errorf("%w: the next one was due at %s, the clock here says %s", ErrStale, stamp(s.NextUpdate), stamp(now))
	default:
		return nil
	}
}

func (v *View) foldWhenFull() {
	if v.overlay.size() > maxOverlay {
		before := v.set
		v.set, v.overlay = v.overlay.fold(v.set, v.signedAt.Add(-expiredFor))
		v.setAt = v.sequence
		if v.set == before { // what was folded stands nowhere any more, so this is another base for changes (Delta)
			same := *before
			v.set = &same
		}
	}
}

// Find tells whether a certificate is revoked or held, by its issuer's subject key identifier (lower-case
// hexadecimal) and its serial (big-endian magnitude without leading zeros). It takes about a
// microsecond. Whether the view is fresh, and covers the issuer, is not its question.
func (v *View) Find(issuer string, serial []byte) (Finding, bool) {
	if v == nil {
		return Finding{}, false
	}
	hash := Hash(issuer, serial)
	if i := v.overlay.find(hash, issuer, serial); i != nil {
		if i.Kind != Revoked && i.Kind != Held {
			return Finding{}, false
		}
		return Finding{Exact: true, Held: i.Kind == Held, Reason: i.Reason, At: i.At, Sequence: i.Sequence}, true
	}
	return Finding{}, v.set.Has(hash)
}

// Except returns a view that does not find this certificate: to be called after a full
// check at the CA said, about its state at sequence asOf, that it is neither revoked nor held, although Find has
// found its hash. It returns v when that answer is older than what v knows. What the feed says of
// the certificate later goes before the exception.
func (v *View) Except(issuer string, serial []byte, asOf uint64) *View {
	if v == nil || asOf < v.setAt {
		return v
	}
	hash := Hash(issuer, serial)
	if v.overlay.find(hash, issuer, serial) != nil || !v.set.Has(hash) {
		return v
	}
	next := *v
	next.overlay = v.overlay.add([]item{{hash: hash, Entry: Entry{Sequence: asOf, Kind: excepted, Issuer: issuer, Serial: slices.Clone(serial)}}})
	next.foldWhenFull()
	return &next
}

// Fresh returns nil while v may be relied on: until its nextUpdate, and with a
// maxSilence of more than 0 no longer than that after the last statement was signed. Otherwise an
// ErrStale, or an ErrFuture, with both times in its text.
func (v *View) Fresh(now time.Time, maxSilence time.Duration) error {
	if v == nil {
		return fmt.Errorf("%w: there is none at all", ErrStale)
	}
	until := v.Until(maxSilence)
	switch {
	case now.After(until):
		return fmt.Errorf("%w: the last one was signed at %s and was good until %s, the clock here says %s", ErrStale, stamp(v.signedAt), stamp(until), stamp(now))
	case now.Add(clockSkew).Before(v.signedAt):
		return fmt.Errorf("%w: the last one was signed at %s, the clock here says %s", ErrFuture, stamp(v.signedAt), stamp(now))
	default:
		return nil
	}
}

// Until returns when Fresh begins to fail, if nothing more arrives; zero for nil.
func (v *View) Until(maxSilence time.Duration) time.Time {
	if v == nil {
		return time.Time{}
	}
	if silent := v.signedAt.Add(maxSilence); maxSilence > 0 && silent.Before(v.nextUpdate) {
		return silent
	}
	return v.nextUpdate
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
