package fault_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

func TestCodeOf(t *testing.T) {
	tests := []struct {
		err  error
		want fault.Code
	}{
		{nil, fault.OK},
		{errors.New("x"), fault.Failure},
		{fault.Usagef("x"), fault.Usage},
		{fmt.Errorf("around: %w", fault.New(fault.Unverified, "", "x")), fault.Unverified},
		{&api.Error{Code: api.CodeForbidden}, fault.Refused},
		{&api.Error{Code: api.CodeBadRequest}, fault.Refused},
		{&api.Error{Code: api.CodeConflict}, fault.Refused},
		{&api.Error{Code: api.CodeNotFound}, fault.NotFound},
		{&api.Error{Code: api.CodeServiceUnknown}, fault.NotFound},
		{&api.Error{Code: api.CodeUnavailable}, fault.Unreachable},
		{&api.Error{Code: api.CodeRateLimited}, fault.Unreachable},
		{&api.Error{Code: api.CodeInternal}, fault.Failure},
		{&api.Error{Code: "not known to this version"}, fault.Refused},
		{fmt.Errorf("around: %w", &api.Error{Code: api.CodeLedgerUnavailable}), fault.Unreachable},
	}
	for _, tt := range tests {
		if got := fault.CodeOf(tt.err); got != tt.want {
			t.Errorf("%v: %d; want %d", tt.err, got, tt.want)
		}
	}
}

func TestPrintGivesEachPartItsPlace(t *testing.T) {
	refused := &api.Error{Code: api.CodeForbidden, Message: "alice may not revoke", Hint: "ask an admin", RequestID: "r1"}
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"plain", errors.New("no"), "handfast: no\n"},
		{"hint", fault.New(fault.Failure, "do this", "no"), "handfast: no\n  next: do this\n"},
		{"api", fmt.Errorf("revoke web: %w", refused),
			"handfast: revoke web: alice may not revoke\n  next: ask an admin\n  code forbidden, request r1\n"},
		{"own hint first", fault.New(fault.Refused, "mine", "x: %w", refused),
			"handfast: x: alice may not revoke\n  next: mine\n  code forbidden, request r1\n"},
		{"control characters", errors.New("a\x1b[2Jb"), "handfast: a\\x1b[2Jb\n"},
		{"joined", errors.Join(errors.New("a"), errors.New("b")), "handfast: a\n  b\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := fault.Print(&b, output.Style{}, tt.err); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Fatalf("got:\n%swant:\n%s", b.String(), tt.want)
			}
		})
	}
}
