package pace

import (
	"errors"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
)

func TestBackoffHonoursRetryAfterAndJitter(t *testing.T) {
	down := errors.New("down")
	busy := &api.Error{Code: api.CodeRateLimited, RetryAfter: time.Minute}
	fixed := func(j float64) *Backoff { return &Backoff{Jitter: func() float64 { return j }} }
	if got := fixed(0).Next(busy, 0); got != time.Minute {
		t.Errorf("waits %v; want Retry-After", got)
	}
	if got := fixed(0.5).Next(busy, 0); got <= time.Minute || got > 66*time.Second {
		t.Errorf("waits %v; want a little more than Retry-After, or all come at once", got)
	}
	forever := &api.Error{Code: api.CodeUnavailable, RetryAfter: 24 * time.Hour}
	if got := fixed(0).Next(forever, 0); got != LongestAdvice {
		t.Errorf("waits %v; want at most %v", got, LongestAdvice)
	}
	b := fixed(0.999)
	var last time.Duration
	for range 200 {
		last = b.Next(down, 0)
	}
	if last > Longest || last < Longest*9/10 {
		t.Errorf("the longest delay is %v; want about %v", last, Longest)
	}
	if got := b.Next(down, time.Minute); got > 6*time.Second {
		t.Errorf("waits %v with a minute of life left", got)
	}
	b.Reset()
	if got := b.Next(down, 0); got > First {
		t.Errorf("after a success waits %v", got)
	}
}

func TestBackoffDoubles(t *testing.T) {
	var random Backoff
	if got := random.Next(nil, 0); got < First/2 || got > First {
		t.Errorf("with random jitter the first wait is %v", got)
	}
	b := Backoff{Jitter: func() float64 { return 0 }}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}
	for i, w := range want {
		if got := b.Next(nil, 0); got != w*time.Second/2 {
			t.Errorf("failure %d: waits %v; want %v", i+1, got, w*time.Second/2)
		}
	}
}

func TestSpread(t *testing.T) {
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	issued := base.Add(-40 * time.Minute)
	early, late := Spread(base, issued, time.Hour, 0), Spread(base, issued, time.Hour, 0.999)
	if got := base.Sub(early); got != 3*time.Minute {
		t.Errorf("earliest is %v before; want 3m, a twentieth of the life", got)
	}
	if got := late.Sub(base); got < 2*time.Minute || got > 3*time.Minute {
		t.Errorf("latest is %v after; want almost 3m", got)
	}
	soon := Spread(base, base.Add(-4*time.Second), time.Hour, 0)
	if got := base.Sub(soon); got != time.Second {
		t.Errorf("a renewal in 4s is moved by %v; want 1s, a quarter of it", got)
	}
	if got := Spread(base, base.Add(-8*time.Second), time.Hour, 0); got != base.Add(-2*time.Second) {
		t.Errorf("a renewal due in 8s is moved to %v before; want 2s, or it would come at once, again and again", base.Sub(got))
	}
	if got := Spread(base, base.Add(time.Minute), time.Hour, 0); got != base {
		t.Errorf("an overdue renewal is moved to %v", got)
	}
}

func TestJitterIsAFraction(t *testing.T) {
	seen := make(map[float64]bool)
	for range 1000 {
		j := Jitter()
		if j < 0 || j >= 1 {
			t.Fatalf("jitter %v is not in [0,1)", j)
		}
		seen[j] = true
	}
	if len(seen) < 990 {
		t.Errorf("%d different numbers of 1000", len(seen))
	}
}
