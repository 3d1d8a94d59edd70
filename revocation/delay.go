package revocation

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// delay is since when something that was revoked waits for the lists that are to tell of it, as Unix
// nanoseconds, and 0 when nothing does. It is safe for concurrent use.
type delay struct{ since atomic.Int64 }

// begin says that there is news, unless there was some already.
func (d *delay) begin(now time.Time) { d.since.CompareAndSwap(0, now.UnixNano()) }

// claim is for who publishes all the news so far.
func (d *delay) claim() int64 { return d.since.Swap(0) }

// restore takes a claim back that came to nothing: what came since is newer.
func (d *delay) restore(claimed int64) {
	if claimed != 0 {
		d.since.Store(claimed)
	}
}

// observed counts what a claim came to.
func observed(claimed int64, now time.Time, by prometheus.Observer) {
	if claimed != 0 {
		by.Observe(now.Sub(time.Unix(0, claimed)).Seconds())
	}
}
