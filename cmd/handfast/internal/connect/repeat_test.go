package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"testing"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// Only what leaves open whether the CA issued something is asked again.
func TestLost(t *testing.T) {
	transport := func(err error) error { return &url.Error{Op: "Post", URL: "https://ca:1/v1/renew", Err: err} }
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"an answer", nil, false},
		{"connection cut", transport(io.ErrUnexpectedEOF), true},
		{"half an answer", fmt.Errorf("read the answer: %w", io.ErrUnexpectedEOF), true},
		{"no answer in time", transport(context.DeadlineExceeded), true},
		{"the CA was stopped", &api.Error{Code: api.CodeUnavailable}, true},
		{"a refusal", fmt.Errorf("POST: %w", &api.Error{Code: api.CodeForbidden}), false},
		{"the ledger refused", &api.Error{Code: api.CodeLedgerUnavailable}, false},
		{"interrupted", transport(context.Canceled), false},
		{"never reached", transport(&net.OpError{Op: "dial", Err: errors.New("connection refused")}), false},
		{"not the CA", transport(&certs.Refusal{Cause: certs.CauseWrongIdentity}), false},
		{"certificate refused", transport(&net.OpError{Op: "remote error", Err: errors.New("remote error: tls: bad certificate")}), false},
	} {
		if got := Lost(tt.err); got != tt.want {
			t.Errorf("%s: Lost = %v; want %v", tt.name, got, tt.want)
		}
	}
}

// A person who interrupts is not kept waiting by the pause.
func TestIssuedStopsWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	_, err := Issued(ctx, func(string) {}, func(string) (*api.Issued, error) {
		asked++
		cancel()
		return nil, io.ErrUnexpectedEOF
	})
	if asked != 1 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("asked %d times, error %v; want once and what went wrong", asked, err)
	}
}
