package connect

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// repeatAfter is the pause before the second try: enough for a proxy to notice that a
// connection is dead, too little to be waited for.
const repeatAfter = 300 * time.Millisecond

// Issued asks for a certificate with a fresh idempotency key, and once more with the same
// key when the answer got lost: the CA may have issued it already and then hands out
// that very one, so that no certificate is left behind that nobody holds. warn gets what to
// do when the second answer was lost, too.
func Issued(ctx context.Context, warn func(string), ask func(idem string) (*api.Issued, error)) (*api.Issued, error) {
	idem := rand.Text()
	issued, err := ask(idem)
	if !Lost(err) {
		return issued, err
	}
	select {
	case <-ctx.Done():
		return nil, err
	case <-time.After(repeatAfter):
	}
	if issued, err = ask(idem); Lost(err) {
		warn("no answer came, twice: a certificate may have been issued all the same; handfast list shows it, handfast revoke ends it")
	}
	return issued, err
}

// Lost reports whether err leaves open what the CA did. It did nothing when it said so,
// when it is not the CA, or when it was never reached.
func Lost(err error) bool {
	var refused *api.Error
	var wrongPeer *certs.Refusal
	var network *net.OpError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &refused):
		// Also what a proxy says whose connection to the CA broke.
		return refused.Code == api.CodeUnavailable
	case errors.As(err, &wrongPeer):
		return false
	case errors.As(err, &network) && network.Op == "dial":
		return false
	default:
		return !strings.Contains(err.Error(), "remote error: tls:")
	}
}
