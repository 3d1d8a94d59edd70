// Package issuer is the only user of the CA's keys. It makes roots and
// intermediates, checks public keys, and turns a validated [Profile] and a [Subject]
// into a certificate in three steps that cannot be skipped or reordered:
//
//	draft, err := profile.Draft(subject, now) // builds the bytes to be signed
//	checked, err := draft.Check()             // reads those bytes again, by other code
//	certificate, err := issuer.Sign(checked)  // signs exactly those bytes, once
//
// A [Checked] can only come out of Check and is used up by Sign, so nothing is signed
// that was not checked and nothing is signed twice. Of a certificate request only
// the public key is read ([ParseCSR]); names come from the caller's policy.
//
// What a profile can produce is linted with zlint when the profile is compiled, over
// a probe of each shape, so that issuance itself stays cheap.
//
// The package does no I/O and keeps no clock: every time is a parameter.
package issuer
