package fleet

import (
	"container/heap"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/handfast/handfast/ca/api"
)

// queue is the agents by the time at which they are due.
type queue struct{ heap dueHeap }

type dueHeap []*agent

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(*agent)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func (q *queue) add(a *agent) { heap.Push(&q.heap, a) }

// due takes the first agent if its time has come; otherwise it returns how long that takes.
func (q *queue) due(now time.Time) (*agent, time.Duration) {
	if len(q.heap) == 0 {
		return nil, time.Second
	}
	if left := q.heap[0].due.Sub(now); left > 0 {
		return nil, left
	}
	return heap.Pop(&q.heap).(*agent), 0
}

// The real agent's schedule, as docs/architecture.md describes it and package agent has it
// in schedule.go.
const (
	firstDelay    = time.Second
	longestDelay  = 5 * time.Minute
	longestAdvice = 15 * time.Minute
)

// backoff is how long to wait after a failure.
func (a *agent) backoff(err error, remaining time.Duration) time.Duration {
	if a.delay == 0 {
		a.delay = firstDelay
	}
	wait := a.delay
	a.delay = min(2*a.delay, longestDelay)
	if remaining > 0 {
		wait = min(wait, max(remaining/10, firstDelay))
	}
	wait = wait/2 + time.Duration(rand.Float64()*float64(wait/2))
	var refused *api.Error
	if errors.As(err, &refused) && refused.RetryAfter > 0 {
		advised := min(refused.RetryAfter, longestAdvice)
		wait = max(wait, advised+time.Duration(rand.Float64()*float64(advised/10)))
	}
	return wait
}

// spread moves a renewal by up to a twentieth of the certificate's life to either side.
func spread(at, now time.Time, life time.Duration) time.Time {
	width := min(life/10, max(at.Sub(now)/2, 0))
	return at.Add(time.Duration((rand.Float64() - 0.5) * float64(width)))
}
