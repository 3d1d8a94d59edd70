package issuer

import "errors"

// What this package refuses, by kind; errors wrap one of these and say more. Any
// other error is a fault of the CA (a signer that fails, a draft that does not pass).
var (
	// ErrBadCSR means that a certificate request is malformed or its signature does not verify.
	ErrBadCSR = errors.New("certificate request refused")
	// ErrWeakKey means that a public key is of a kind that is not accepted, weak, known bad, or a CA's.
	ErrWeakKey = errors.New("public key refused")
	// ErrSubject means that a Subject cannot stand in a certificate of the profile.
	ErrSubject = errors.New("subject refused")
	// ErrClock means that the time given lies before the issuer's own NotBefore: the clock is wrong.
	ErrClock = errors.New("clock is before the issuer's validity")
	// ErrIssuerExpired means that the issuer may sign nothing any more.
	ErrIssuerExpired = errors.New("issuer has expired")
	// ErrUsed means that a Draft was checked or a Checked was signed before.
	ErrUsed = errors.New("used already")
	// ErrUnchecked means that a Draft or a Checked did not come from this package's own steps.
	ErrUnchecked = errors.New("did not pass its check")
)
