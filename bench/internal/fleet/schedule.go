package fleet

import (
	"container/heap"
	"time"
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
