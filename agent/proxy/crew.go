package proxy

import (
	"context"
	"time"
)

// crewPatience is how long a goroutine of a crew waits for more to do.
const crewPatience = time.Second

// crew runs what begins a connection, handshakes above all, on goroutines that are used again: to make a signature takes
// a stack of 16 KB, and to grow it from 2 KB, anew for each handshake, 2 to 3% of what the handshake costs.
// Nobody waits for a member of it: where none is free there is a new one.
type crew struct{ jobs chan func() }

func newCrew() crew { return crew{jobs: make(chan func())} }

// do runs job on another goroutine and returns at once. Nobody in the crew waits any more when ctx has ended.
func (c crew) do(ctx context.Context, job func()) {
	select {
	case c.jobs <- job:
	default:
		go c.work(ctx, job)
	}
}

func (c crew) work(ctx context.Context, job func()) {
	job()
	patience := time.NewTimer(crewPatience)
	defer patience.Stop()
	for {
		select {
		case job = <-c.jobs:
			job()
			patience.Reset(crewPatience)
		case <-patience.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
