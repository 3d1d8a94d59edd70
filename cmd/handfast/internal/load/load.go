// Package load keeps a bounded number of workers busy with a bounded number of requests, and notes how
// long each took.
package load

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Do performs request number i, from 0, as worker w. A worker does one at a time.
type Do func(ctx context.Context, w, i int) error

// Run performs requests 0 to n-1 with so many workers, each of which goes on as soon as it was answered. The first
// error ends the run and is returned. done may be read at any time; it counts answers.
func Run(ctx context.Context, workers, n int, done *atomic.Int64, do Do) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]time.Duration, n)
	var next atomic.Int64
	var running sync.WaitGroup
	began := time.Now()
	for w := range workers {
		running.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				start := time.Now()
				if err := do(ctx, w, i); err != nil {
					cancel(err)
					return
				}
				took[i] = time.Since(start)
				done.Add(1)
			}
		})
	}
	running.Wait()
	elapsed := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	slices.Sort(took)
	return Result{Elapsed: elapsed, took: took}, nil
}

// Result is what a run came to.
type Result struct {
	Elapsed time.Duration
	took    []time.Duration // rising
}

// Rate is requests per second.
func (r Result) Rate() float64 { return float64(len(r.took)) / r.Elapsed.Seconds() }

// Percentile returns the time that p percent of the requests, 0 to 100, did not exceed: that of one of them, by
// nearest rank. Of no requests it is 0.
func (r Result) Percentile(p int) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	rank := (len(r.took)*p + 99) / 100
	return r.took[max(rank, 1)-1]
}
