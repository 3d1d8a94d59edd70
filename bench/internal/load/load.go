// Package load keeps a number of clients busy and notes how long each request took.
package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Do performs one unit of work. client is below the number of clients and never in use
// twice at a time; unit counts from 0.
type Do func(ctx context.Context, client, unit int) error

// Result is one round.
type Result struct {
	Units     int
	Elapsed   time.Duration
	Latencies []time.Duration // in no order
}

// Rate is units per second.
func (r Result) Rate() float64 { return float64(r.Units) / r.Elapsed.Seconds() }

// Closed has every client ask again as soon as it was answered, until units are done. The
// first error ends the round.
func Closed(ctx context.Context, clients, units int, do Do) (Result, error) {
	return run(ctx, clients, units, func(int) time.Time { return time.Now() }, do)
}

// Paced starts unit i at i/rate seconds, whether or not earlier ones were answered, as
// long as a client is free. Latency counts from the moment that the unit was due, so a
// stall is charged to all whom it kept waiting.
func Paced(ctx context.Context, clients, units int, rate float64, do Do) (Result, error) {
	begin := time.Now()
	return run(ctx, clients, units, func(unit int) time.Time {
		due := begin.Add(time.Duration(float64(unit) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		return due
	}, do)
}

func run(parent context.Context, clients, units int, start func(unit int) time.Time, do Do) (Result, error) {
	result := Result{Units: units, Latencies: make([]time.Duration, 0, units)}
	var next atomic.Int64
	var mu sync.Mutex // guards result.Latencies
	begin := time.Now()
	group, ctx := errgroup.WithContext(parent)
	for client := range clients {
		group.Go(func() error {
			own := make([]time.Duration, 0, 2*units/clients+1)
			for ctx.Err() == nil {
				unit := int(next.Add(1)) - 1
				if unit >= units {
					break
				}
				due := start(unit)
				if err := do(ctx, client, unit); err != nil {
					return err
				}
				own = append(own, time.Since(due))
			}
			mu.Lock()
			defer mu.Unlock()
			result.Latencies = append(result.Latencies, own...)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	result.Elapsed = time.Since(begin)
	return result, parent.Err()
}
