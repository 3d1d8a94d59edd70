package fleet

import (
	"errors"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
)

func TestQueueHandsOutWhoIsDueFirst(t *testing.T) {
	now := time.Unix(1000, 0)
	var q queue
	for _, after := range []time.Duration{3, 1, 2} {
		q.add(&agent{due: now.Add(after * time.Second)})
	}
	if a, left := q.due(now); a != nil || left != time.Second {
		t.Errorf("got %v after %v; nobody is due for a second", a, left)
	}
	for want := 1; want <= 3; want++ {
		a, _ := q.due(now.Add(time.Minute))
		if a == nil || a.due != now.Add(time.Duration(want)*time.Second) {
			t.Fatalf("number %d is %+v", want, a)
		}
	}
	if a, left := q.due(now); a != nil || left <= 0 {
		t.Errorf("an empty queue gives %v after %v", a, left)
	}
}

// Who has little life left asks often, and nobody comes before the CA has said.
func TestBackoff(t *testing.T) {
	advised := &api.Error{Code: api.CodeRateLimited, RetryAfter: time.Minute}
	for range 100 {
		a := new(agent)
		if wait := a.backoff(errors.New("down"), time.Hour); wait < firstDelay/2 || wait > firstDelay {
			t.Fatalf("the first wait is %v", wait)
		}
		for range 20 {
			if wait := a.backoff(errors.New("down"), 20*time.Second); wait > 2*time.Second {
				t.Fatalf("with 20 s left it waits %v", wait)
			}
		}
		if wait := a.backoff(errors.New("down"), time.Hour); wait < longestDelay/2 || wait > longestDelay {
			t.Fatalf("after many failures it waits %v", wait)
		}
		if wait := a.backoff(advised, 20*time.Second); wait < time.Minute || wait > 66*time.Second {
			t.Fatalf("told to wait a minute it waits %v", wait)
		}
	}
}

func TestSpreadStaysNear(t *testing.T) {
	now := time.Unix(1000, 0)
	for range 100 {
		at := now.Add(10 * time.Minute)
		if moved := spread(at, now, time.Hour).Sub(at).Abs(); moved > 150*time.Second {
			t.Fatalf("a renewal in ten minutes is moved by %v, over a quarter of that", moved)
		}
		if got := spread(now.Add(-time.Second), now, time.Hour); got != now.Add(-time.Second) {
			t.Fatalf("what is overdue is moved to %v", got)
		}
	}
}

func TestTimeline(t *testing.T) {
	f := &Fleet{seconds: make(map[int64]*Second)}
	begin := time.Unix(1000, 500_000_000)
	f.note(begin).Renewed = 2
	f.note(begin.Add(2 * time.Second)).Renewed = 5
	f.note(begin.Add(2*time.Second)).PutOff++
	seconds := f.Timeline(begin, begin.Add(3*time.Second))
	if len(seconds) != 3 || seconds[0].Renewed != 2 || seconds[1] != (Second{}) {
		t.Fatalf("got %+v", seconds)
	}
	if sum := Sum(seconds); sum != (Second{Renewed: 7, PutOff: 1, Busiest: 5}) {
		t.Errorf("the sum is %+v", sum)
	}
}
