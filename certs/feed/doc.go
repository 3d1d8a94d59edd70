// Package feed is what a CA says about revocation, in an order that nobody in between can
// change: signed statements, what a holder knows after applying them (View), and the compact set
// of everything that is revoked. It depends on the standard library only.
//
// A Statement says: "a holder that stands at From or later stands at To after this; so it was at
// SignedAt, and until NextUpdate it may be relied on". One from 0 with a Set is a snapshot; one without
// entries whose From is its To is a heartbeat. The positions are the CA's revocation log's
// sequence numbers, which are its CRL numbers too.
//
// Whoever carries statements (a relay, a cache, an enemy) can delay them, and nothing else:
//
//   - a changed or invented one has no valid signature (Open);
//   - a missing one leaves a gap that View.Apply refuses (ErrGap);
//   - an old one goes back in position or in time (ErrReplayed, ErrStale);
//   - silence shows, because View.Fresh wants statements that are young.
//
// Package certs decides who may sign (CheckFeedSigner) and judges peers by a View.
package feed

import "errors"

// What View.Apply and View.Fresh refuse. Errors wrap one of these.
var (
	// ErrGap: the statement begins after the holder's position, so something was cut out, or
	// the holder has no position at all yet and this is no snapshot. Ask again from the position.
	ErrGap = errors.New("statements are missing before this one")
	// ErrReplayed: the statement ends before the holder's position, or is older than the last one.
	ErrReplayed = errors.New("the statement was replayed: a later one is known")
	// ErrDomain: the statement is of another trust domain.
	ErrDomain = errors.New("the statement is of another trust domain")
	// ErrFuture: it is dated later than the clock here allows.
	ErrFuture = errors.New("the statement is from the future")
	// ErrStale: it is too old to be relied on.
	ErrStale = errors.New("the statement is stale")
	// ErrSignature: the statement was not signed, byte for byte, by the signer that it names.
	ErrSignature = errors.New("the statement's signature is wrong")
)
