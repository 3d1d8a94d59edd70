package api

import (
	"fmt"
	"net/http"
	"time"
)

// Code names a kind of failure. Codes are stable: programs may depend on them.
type Code string

// The codes and what the caller can do about them.
const (
	CodeBadRequest        Code = "bad_request"        // malformed; do not repeat
	CodeTooLarge          Code = "too_large"          // over a limit of size
	CodeUnauthenticated   Code = "unauthenticated"    // no client certificate, or one that does not verify
	CodeForbidden         Code = "forbidden"          // the identity is known, the right is missing
	CodeNotFound          Code = "not_found"          // no such thing
	CodeConflict          Code = "conflict"           // exists already, or changed meanwhile (If-Match)
	CodeTokenInvalid      Code = "token_invalid"      // not minted by this CA, malformed, wrong audience or algorithm
	CodeTokenExpired      Code = "token_expired"      // or not valid yet
	CodeTokenUsed         Code = "token_used"         // one-time means once
	CodeBadCSR            Code = "bad_csr"            // malformed, or its signature does not verify
	CodeWeakKey           Code = "weak_key"           // a key that the profile refuses: type, size, known bad or compromised, or a CA's
	CodeRevoked           Code = "revoked"            // the certificate that asks is revoked: enrol again with a new token
	CodeHeld              Code = "held"               // the certificate that asks is on hold: an operator releases or revokes it
	CodeExpired           Code = "expired"            // the certificate that asks has expired; past the grace only enrolment helps
	CodeReplayed          Code = "replayed"           // a nonce was seen before, or the request is too old
	CodeServiceUnknown    Code = "service_unknown"    // the service is not, or no longer, registered
	CodeKeyReused         Code = "idempotency_reused" // the idempotency key came before with another request
	CodeRefused           Code = "policy_refused"     // policy says no: names, profile, lifetime
	CodeRateLimited       Code = "rate_limited"       // wait for Retry-After
	CodeLedgerUnavailable Code = "ledger_unavailable" // nothing can be made durable; nothing was issued; retry
	CodeUnavailable       Code = "unavailable"        // starting, stopping, or the clock is wrong; retry
	CodeInternal          Code = "internal"           // a fault of the CA; its log has the request id
)

// Error is every failure's body, as {"error": {...}}. It never carries a secret.
type Error struct {
	Code      Code   `json:"code"`
	Message   string `json:"message"`        // what failed and why
	Hint      string `json:"hint,omitempty"` // what to do next
	RequestID string `json:"request_id,omitempty"`

	Status     int           `json:"-"` // the HTTP status
	RetryAfter time.Duration `json:"-"` // from the response's header; 0 is none
}

// ErrorBody is the JSON around an Error.
type ErrorBody struct {
	Error *Error `json:"error"`
}

// Error returns message, hint, code and request id in one line.
func (e *Error) Error() string {
	s := e.Message
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	if e.RequestID != "" {
		return fmt.Sprintf("%s (%s, request %s)", s, e.Code, e.RequestID)
	}
	return fmt.Sprintf("%s (%s)", s, e.Code)
}

// Retryable reports whether the same request may succeed later without a change.
func (e *Error) Retryable() bool {
	switch e.Code {
	case CodeRateLimited, CodeLedgerUnavailable, CodeUnavailable, CodeInternal:
		return true
	default:
		return false
	}
}

// HTTPStatus is the status that stands for code.
func (code Code) HTTPStatus() int {
	switch code {
	case CodeBadRequest, CodeBadCSR, CodeWeakKey:
		return http.StatusBadRequest
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeUnauthenticated, CodeTokenInvalid, CodeTokenExpired, CodeTokenUsed, CodeReplayed:
		return http.StatusUnauthorized
	case CodeForbidden, CodeRevoked, CodeHeld, CodeExpired, CodeServiceUnknown, CodeRefused:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeConflict, CodeKeyReused:
		return http.StatusConflict
	case CodeRateLimited:
		return http.StatusTooManyRequests
	case CodeLedgerUnavailable, CodeUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
