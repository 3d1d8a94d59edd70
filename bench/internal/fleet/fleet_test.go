package fleet

import (
	"testing"
	"time"
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
