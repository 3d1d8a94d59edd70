package agent

import (
	"context"
	"time"
)

// Limits of waiting.
const (
	again       = time.Second      // after a failure that nothing makes longer
	tokenPoll   = 5 * time.Second  // how often a missing token is looked for
	pollsAtOnce = 10               // questions about the CA's state without a pause; then one a second
	clockCheck  = 30 * time.Second // how often a long sleep looks at the wall clock
)

// sleep waits for d. It reports false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// waitChange waits until changed is closed, d is over or ctx ends.
func waitChange(ctx context.Context, changed <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// sleepUntil waits until the wall clock shows at. It looks at that clock now and then,
// because timers stand still while a machine is suspended and do not follow a
// corrected clock. It reports false when ctx ends first.
func (a *Agent) sleepUntil(ctx context.Context, at time.Time) bool {
	for {
		left := at.Round(0).Sub(a.now().Round(0))
		if left <= 0 {
			return ctx.Err() == nil
		}
		if !sleep(ctx, min(left, clockCheck)) {
			return false
		}
	}
}
