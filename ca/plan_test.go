package ca

import (
	"testing"
	"time"
)

// TestAHerdIsAskedToRenewOverAWindow: ten thousand certificates of one second are not due in one.
func TestAHerdIsAskedToRenewOverAWindow(t *testing.T) {
	var p plan
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := now.Add(40 * time.Minute)
	due := map[int64]int{}
	for range 10_000 {
		got := p.place(now, at)
		if got.After(at) || got.Before(at.Add(-10*time.Minute)) {
			t.Fatalf("asked to renew at %s, meant was %s", got, at)
		}
		due[got.Unix()/10]++
	}
	most := 0
	for _, n := range due {
		most = max(most, n)
	}
	if most > 500 || len(due) < 40 {
		t.Errorf("%d are due within ten seconds, in %d of 60 slots", most, len(due))
	}
}

// TestWhatCrowdsNobodyStays: a steady fleet is asked at the profile's time.
func TestWhatCrowdsNobodyStays(t *testing.T) {
	var p plan
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for second := range 24 * 3600 { // five a second, longer than the ring remembers
		now := now.Add(time.Duration(second) * time.Second)
		for range 5 {
			if at := now.Add(40 * time.Minute); !p.place(now, at).Equal(at) {
				t.Fatalf("moved to %s after %d s", p.place(now, at), second)
			}
		}
	}
}

// TestAShortLifeIsNotMovedAway: where there is no room to move, nothing is.
func TestAShortLifeIsNotMovedAway(t *testing.T) {
	var p plan
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for range 1000 {
		for _, left := range []time.Duration{-time.Hour, 0, time.Second, 30 * time.Second} {
			if got := p.place(now, now.Add(left)); !got.Equal(now.Add(left)) {
				t.Fatalf("%v left: moved by %v", left, got.Sub(now.Add(left)))
			}
		}
	}
}
