package ca

import (
	"context"
	"errors"
	"fmt"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/revocation"
)

// refusal is an *api.Error for the caller and, for the CA's own log, its cause. errors.As
// finds the *api.Error.
type refusal struct {
	api   *api.Error
	cause error
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%s: %v", r.api.Message, r.cause)
}

func (r *refusal) Unwrap() []error { return []error{r.api, r.cause} }

func refuse(code api.Code, hint, format string, args ...any) error {
	return &api.Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint, Status: code.HTTPStatus()}
}

func fault(code api.Code, message, hint string, cause error) error {
	return &refusal{api: &api.Error{Code: code, Message: message, Hint: hint, Status: code.HTTPStatus()}, cause: cause}
}

// codeOf is the category of err for metrics and the audit log.
func codeOf(err error) api.Code {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Code
	}
	return api.CodeInternal
}

// ledgerError translates what every use of the ledger may return; an error that has a
// code passes. What is no known outcome is a fault of the store: the caller learns that
// nothing was issued.
func ledgerError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*api.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, ErrTokenUsed):
		return refuse(api.CodeTokenUsed, "ask an operator for a new token", "the token was used before")
	case errors.Is(err, ErrKeyReused):
		return refuse(api.CodeKeyReused, "use a new key for a new request", "the idempotency key came before with another request")
	case errors.Is(err, ErrRevoked):
		return errRevoked()
	case errors.Is(err, ErrHeld):
		return errHeld()
	case errors.Is(err, ErrKeyCompromised):
		return refuse(api.CodeWeakKey, "make a new key", "the key is refused: a certificate with it was revoked for keyCompromise")
	case errors.Is(err, ErrConflict):
		return refuse(api.CodeConflict, "read it again and repeat", "changed meanwhile, or exists already")
	case errors.Is(err, ErrNotFound):
		return refuse(api.CodeNotFound, "", "not found")
	case errors.Is(err, ErrBadCursor):
		return refuse(api.CodeBadRequest, "begin again without one", "%v", ErrBadCursor)
	case errors.Is(err, ErrSerialExists):
		return fault(api.CodeInternal, "two fresh serials exist already", "the source of randomness is broken: stop the CA", err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault(api.CodeUnavailable, "the request ended before its record was durable", "repeat it with the same idempotency key", err)
	default:
		return fault(api.CodeLedgerUnavailable, "the ledger cannot be read or written", "nothing was issued; retry later", err)
	}
}

func errRevoked() error {
	return refuse(api.CodeRevoked, "enrol again with a new token", "the certificate is revoked")
}

func errHeld() error {
	return refuse(api.CodeHeld, "an operator can release it: handfast revoke --unhold", "the certificate is on hold")
}

// refused is the error for a row whose certificate is revoked or on hold, else nil.
func (row Certificate) refused() error {
	switch {
	case row.Revocation == nil:
		return nil
	case row.Revocation.Kind == revocation.Held:
		return errHeld()
	default:
		return errRevoked()
	}
}

func errServiceUnknown(name string) error {
	return refuse(api.CodeServiceUnknown, "an operator can register it: handfast service add "+name, "service %s is not registered", name)
}

// allow is policy.Allow with an error for the caller.
func allow(actor policy.Operator, action policy.Action, service string) error {
	if err := policy.Allow(actor, action, service); err != nil {
		return refuse(api.CodeForbidden, "an admin can do it, or give you the role", "%v", err)
	}
	return nil
}

// csrError tells a weak key from a bad CSR.
func csrError(err error) error {
	if errors.Is(err, issuer.ErrWeakKey) {
		return refuse(api.CodeWeakKey, "make a new key: ECDSA P-256 is always accepted", "the key is refused: %v", err)
	}
	return refuse(api.CodeBadCSR, "send a PKCS #10 request in DER that is signed by its own key", "the CSR is refused: %v", err)
}
