// Package fault is how the CLI fails: every error has an exit code and, where one helps,
// a next step. API errors keep their code and request id.
package fault

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

// Code is a process's exit code. The numbers are documented and never change.
type Code int

// The exit codes.
const (
	OK          Code = 0
	Failure     Code = 1 // anything that has no number of its own
	Usage       Code = 2 // the command line is wrong; nothing was done
	Refused     Code = 3 // the CA or its policy says no
	Unreachable Code = 4 // the CA cannot be reached, or cannot answer now
	NotFound    Code = 5 // no such service, certificate, operator or file
	Unverified  Code = 6 // a certificate or a peer does not verify
	Incomplete  Code = 7 // it is done, but not every agent has said so in time
)

// Explanation is the text of `handfast help exit-codes`.
const Explanation = `handfast ends with

  0  when it did what was asked
  1  when it failed for a reason without a number of its own
  2  when the command line is wrong (unknown command or flag, missing or
     contradicting arguments, a confirmation that nobody could give); nothing
     was done
  3  when the CA or its policy refused: a missing right, a refused name, key or
     lifetime, a conflict, a certificate that is revoked or expired
  4  when the CA cannot be reached or cannot answer now; the same command may
     succeed later
  5  when there is no such service, certificate, operator or file
  6  when something does not verify: "handfast verify" says no, or the CA's own
     certificate is not what the context expects
  7  when "handfast revoke --wait" has revoked, but some agents are silent or
     lag: not all have said in time that they enforce it

Standard output carries the answer only; everything else is on standard error.`

// Error is a failure with its exit code and the next step.
type Error struct {
	Code Code
	Err  error
	Hint string // what to do next, in the imperative; may be empty
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an Error from a format.
func New(code Code, hint, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...), Hint: hint}
}

// Usagef says that the command line is wrong.
func Usagef(format string, args ...any) error {
	return &Error{Code: Usage, Err: fmt.Errorf(format, args...)}
}

// CodeOf returns err's exit code. An Error counts before an API error inside it.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var own *Error
	if errors.As(err, &own) {
		return own.Code
	}
	var refused *api.Error
	if errors.As(err, &refused) {
		return apiCode(refused)
	}
	return Failure
}

func apiCode(e *api.Error) Code {
	switch {
	case e.Code == api.CodeNotFound, e.Code == api.CodeServiceUnknown:
		return NotFound
	case e.Code == api.CodeInternal:
		return Failure
	case e.Retryable():
		return Unreachable
	default:
		return Refused
	}
}

// Print writes err for a person: what failed and why, then the next step, then what the
// CA's operator needs to find the request.
func Print(w io.Writer, style output.Style, err error) error {
	message := err.Error()
	hint, trace := "", ""
	var refused *api.Error
	if errors.As(err, &refused) {
		// The one-line form carries all four parts; here each has its place.
		message = strings.ReplaceAll(message, refused.Error(), refused.Message)
		hint = refused.Hint
		trace = "code " + string(refused.Code)
		if refused.RequestID != "" {
			trace += ", request " + refused.RequestID
		}
	}
	var own *Error
	if errors.As(err, &own) && own.Hint != "" {
		hint = own.Hint
	}
	text := style.Paint(output.Red, "handfast: ") + clean(message) + "\n"
	if hint != "" {
		text += "  next: " + clean(hint) + "\n"
	}
	if trace != "" {
		text += style.Paint(output.Faint, "  "+clean(trace)) + "\n"
	}
	_, writeErr := io.WriteString(w, text)
	return writeErr
}

// clean keeps the line breaks of our own messages (joined errors) and nothing else.
func clean(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = output.Clean(lines[i])
	}
	return strings.Join(lines, "\n  ")
}
