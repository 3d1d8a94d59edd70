package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca/api"
)

func newTestPacer(slots int) *pacer {
	return newPacer(Limits{Renewals: slots, Queue: time.Second}, time.Now, newMetrics(nil))
}

// TestThePressedGoFirst fills the slots, has renewals wait in another order than they
// expire in, and gives slots back one by one.
func TestThePressedGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPacer(2)
		now := time.Now()
		for range 2 {
			if err := p.enter(t.Context(), now.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		served := make(chan int, 5)
		for _, minutes := range []int{30, 10, 50, 20, 40} {
			go func() {
				if p.enter(t.Context(), now.Add(time.Duration(minutes)*time.Minute)) == nil {
					served <- minutes
				}
			}()
			synctest.Wait()
		}
		for _, want := range []int{10, 20, 30, 40, 50} {
			p.leave()
			if got := <-served; got != want {
				t.Errorf("the one with %d minutes was served, want %d", got, want)
			}
		}
		p.leave()
		p.leave()
		if p.working != 0 || len(p.waiting) != 0 {
			t.Errorf("%d work and %d wait in the end", p.working, len(p.waiting))
		}
	})
}

// TestTheHerdIsDeferredByWhatItCanBear: with more than there is room for, those with the most time
// left are told to come back, within a third of it and not all at once.
func TestTheHerdIsDeferredByWhatItCanBear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPacer(1)
		now := time.Now()
		if err := p.enter(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		type outcome struct {
			left time.Duration
			err  error
		}
		outcomes := make(chan outcome, 40)
		for i := range 40 {
			left := time.Duration(40-i) * time.Minute // the pressed come last
			go func() { outcomes <- outcome{left, p.enter(t.Context(), now.Add(left))} }()
			synctest.Wait()
		}
		advice := map[time.Duration]bool{}
		for range 40 - pacerWaiting {
			o := <-outcomes
			var refused *api.Error
			if !errors.As(o.err, &refused) || refused.Code != api.CodeRateLimited {
				t.Fatalf("%v left: %v, want %s", o.left, o.err, api.CodeRateLimited)
			}
			if o.left <= pacerWaiting*time.Minute {
				t.Errorf("deferred with %v left, although others have more", o.left)
			}
			if refused.RetryAfter < time.Second || refused.RetryAfter > min(o.left/pacerSpread, maxDeferral)+time.Second {
				t.Errorf("%v left: come back in %v", o.left, refused.RetryAfter)
			}
			advice[refused.RetryAfter] = true
		}
		if len(advice) < 30 {
			t.Errorf("%d different advices for 36: the herd stays together", len(advice))
		}
		if time.Since(now) != 0 {
			t.Error("who has no chance waited for the refusal")
		}
		for range pacerWaiting { // nobody gives the slot back
			if o := <-outcomes; o.err == nil || o.left > pacerWaiting*time.Minute {
				t.Errorf("%v left: %v", o.left, o.err)
			}
		}
		if time.Since(now) != p.patience {
			t.Errorf("they waited for %v, want %v", time.Since(now), p.patience)
		}
		if p.working != 1 || len(p.waiting) != 0 {
			t.Errorf("%d work and %d wait in the end", p.working, len(p.waiting))
		}
	})
}

// TestAWaitEndsWithItsRequest: who goes away leaves no slot taken.
func TestAWaitEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPacer(1)
		if err := p.enter(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.enter(ctx, time.Now()) }()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
		p.leave()
		if p.working != 0 || len(p.waiting) != 0 {
			t.Errorf("%d work and %d wait in the end", p.working, len(p.waiting))
		}
	})
}
