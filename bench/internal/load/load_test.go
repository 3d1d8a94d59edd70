package load_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/bench/internal/load"
)

func TestClosedDoesEachUnitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := map[int]int{}
		busy := map[int]bool{}
		result, err := load.Closed(t.Context(), 4, 100, func(_ context.Context, client, unit int) error {
			mu.Lock()
			if busy[client] {
				t.Errorf("client %d is in use twice", client)
			}
			busy[client] = true
			seen[unit]++
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			busy[client] = false
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) != 100 || len(result.Latencies) != 100 {
			t.Errorf("%d units and %d latencies, want 100 each", len(seen), len(result.Latencies))
		}
		for unit, times := range seen {
			if times != 1 {
				t.Errorf("unit %d was done %d times", unit, times)
			}
		}
		if want := 250 * time.Millisecond; result.Elapsed != want || result.Rate() != 400 {
			t.Errorf("elapsed %v at %v/s, want %v at 400/s", result.Elapsed, result.Rate(), want)
		}
	})
}

func TestPacedChargesWaitingToLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// One client that needs 15 ms, and a unit due every 10 ms: each waits 5 ms longer.
		result, err := load.Paced(t.Context(), 1, 3, 100, func(context.Context, int, int) error {
			time.Sleep(15 * time.Millisecond)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []time.Duration{15, 20, 25} {
			if got := result.Latencies[i]; got != want*time.Millisecond {
				t.Errorf("latency %d = %v, want %v", i, got, want*time.Millisecond)
			}
		}
	})
}

func TestFirstErrorEndsTheRound(t *testing.T) {
	refused := errors.New("refused")
	_, err := load.Closed(t.Context(), 8, 1<<30, func(_ context.Context, _, unit int) error {
		if unit == 5 {
			return refused
		}
		return nil
	})
	if !errors.Is(err, refused) {
		t.Errorf("error %v, want %v", err, refused)
	}
}
