package enroll

import (
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca/api"
)

const hintNewToken = "ask an operator for a new token: handfast token SERVICE"

func invalid(format string, args ...any) *api.Error {
	return &api.Error{
		Code:    api.CodeTokenInvalid,
		Message: "enrolment token refused: " + fmt.Sprintf(format, args...),
		Hint:    "check that the token was made for this CA, or " + hintNewToken,
	}
}

func expired(format string, args ...any) *api.Error {
	return &api.Error{
		Code:    api.CodeTokenExpired,
		Message: "enrolment token refused: " + fmt.Sprintf(format, args...),
		Hint:    "compare the clocks, or " + hintNewToken,
	}
}

func refused(format string, args ...any) *api.Error {
	return &api.Error{
		Code:    api.CodeRefused,
		Message: fmt.Sprintf(format, args...),
		Hint:    "the CA's operator decides this in config.yaml under enrolment",
	}
}

func unavailable(after time.Duration, format string, args ...any) *api.Error {
	return &api.Error{
		Code:       api.CodeUnavailable,
		Message:    fmt.Sprintf(format, args...),
		Hint:       "try again later; the CA's log has the cause",
		RetryAfter: after,
	}
}

func badRequest(format string, args ...any) *api.Error {
	return &api.Error{Code: api.CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}

// codeOf is the category of err for the metric.
func codeOf(err error) api.Code {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return api.CodeInternal
}
