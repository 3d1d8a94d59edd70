package load

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEachRequestIsDoneOnce(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[int]int)
	busy := make([]atomic.Bool, 7)
	var done atomic.Int64
	_, err := Run(t.Context(), len(busy), 500, &done, func(_ context.Context, w, i int) error {
		if !busy[w].CompareAndSwap(false, true) {
			t.Errorf("worker %d does two things at a time", w)
		}
		defer busy[w].Store(false)
		mu.Lock()
		seen[i]++
		mu.Unlock()
		return nil
	})
	if err != nil || len(seen) != 500 || done.Load() != 500 {
		t.Fatalf("%d requests, %d done, %v", len(seen), done.Load(), err)
	}
	for i, n := range seen {
		if n != 1 {
			t.Errorf("request %d was done %d times", i, n)
		}
	}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int64
		result, err := Run(t.Context(), 10, 100, &done, func(_ context.Context, _, i int) error {
			time.Sleep(time.Duration(i+1) * time.Millisecond)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for p, want := range map[int]time.Duration{0: 1, 50: 50, 95: 95, 99: 99, 100: 100} {
			if got := result.Percentile(p); got != want*time.Millisecond {
				t.Errorf("p%d = %v; want %v", p, got, want*time.Millisecond)
			}
		}
		if got := result.Rate() * result.Elapsed.Seconds(); got < 99.99 || got > 100.01 {
			t.Errorf("rate times time = %v; want 100", got)
		}
	})
	if (Result{}).Percentile(99) != 0 {
		t.Error("a percentile of nothing")
	}
}

func TestFirstErrorEndsTheRun(t *testing.T) {
	broken := errors.New("broken")
	var done, asked atomic.Int64
	_, err := Run(t.Context(), 3, 1_000_000, &done, func(ctx context.Context, _, i int) error {
		asked.Add(1)
		switch {
		case i == 10:
			return broken
		case i > 10: // the others learn of it from their context, however late the one with the error is scheduled
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	if !errors.Is(err, broken) || asked.Load() > 10+3 || done.Load() != 10 {
		t.Errorf("%v after %d requests, %d done", err, asked.Load(), done.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, 3, 10, &done, func(context.Context, int, int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
