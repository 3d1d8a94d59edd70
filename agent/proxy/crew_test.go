package proxy

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// free tells how many of a crew wait for something to do, and leaves them busy until the bubble's end.
func (c crew) free(t *testing.T) (n int) {
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	for {
		synctest.Wait()
		select {
		case c.jobs <- func() { <-hold }:
			n++
		default:
			return n
		}
	}
}

// What comes while all are busy does not wait; and who is done stays for more, for a while.
func TestCrew(t *testing.T) {
	for _, test := range []struct {
		name  string
		after func(cancel context.CancelFunc)
		free  int
	}{
		{"at once", func(context.CancelFunc) {}, 3},
		{"within its patience", func(context.CancelFunc) { time.Sleep(crewPatience - time.Millisecond) }, 3},
		{"after its patience", func(context.CancelFunc) { time.Sleep(crewPatience) }, 0},
		{"when the work is over", func(cancel context.CancelFunc) { cancel() }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c := newCrew()
				together := make(chan struct{})
				var running sync.WaitGroup
				running.Add(3)
				for range 3 {
					c.do(ctx, func() { running.Done(); <-together })
				}
				running.Wait()
				close(together)
				synctest.Wait()
				test.after(cancel)
				if n := c.free(t); n != test.free {
					t.Errorf("%d wait for something to do; want %d", n, test.free)
				}
			})
		})
	}
}

// A member of the crew is taken before anybody new is, and its patience begins anew.
func TestCrewIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew()
		for range 5 {
			c.do(t.Context(), func() {})
			time.Sleep(crewPatience / 2)
		}
		if n := c.free(t); n != 1 {
			t.Errorf("%d wait after one thing at a time; want 1", n)
		}
	})
}
