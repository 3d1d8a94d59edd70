//go:build e2e

package e2e

import (
	"errors"
	"testing"

	"github.com/handfast/handfast/internal/harness"
)

// A service on hold is refused by its peers' agents, and is let in again after the
// release, without a restart or a token.
func TestHeldServiceComesBackAfterItsRelease(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	ctx := within(t)
	ca := startCA(ctx, t)
	handfast(ctx, t, ca, "service", "add", "web")
	handfast(ctx, t, ca, "service", "add", "orders", "--callers", "web")
	inbound, outbound, dir := freeAddress(t), freeAddress(t), t.TempDir()
	startAgent(ctx, t, ca, "orders", dir, "--inbound", inbound+"="+serveIdentity(t)+",mode=http")
	startAgent(ctx, t, ca, "web", dir, "--outbound", outbound+"=orders@"+inbound)
	call := func() error {
		_, err := harness.Run(ctx, nil, "curl", "-sSf", "--max-time", "20", "http://"+outbound+"/")
		return err
	}
	eventually(ctx, t, call)

	handfast(ctx, t, ca, "revoke", "--service", "web", "--hold", "--yes")
	eventually(ctx, t, func() error {
		if call() == nil {
			return errors.New("orders still answers web, which is on hold")
		}
		return nil
	})
	handfast(ctx, t, ca, "revoke", "--service", "web", "--unhold", "--yes")
	eventually(ctx, t, call)
}
