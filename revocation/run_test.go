package revocation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/certs"
)

// inBubble runs a publisher by the bubble's clock.
func inBubble(t *testing.T, adjust func(*Config), body func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{log: newMemoryLog(), ca: newTestCA(t, "Example", time.Now()), clock: newTestClock()}
		b.Publisher = b.open(t, func(c *Config) {
			c.Now = nil
			if adjust != nil {
				adjust(c)
			}
		})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		body(t, b)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returns %v", err)
		}
	})
}

func (b *bench) lists(t testing.TB, serial certs.Serial) bool {
	t.Helper()
	_, listed := b.fetch(t, fullPath(b.ca.ID())).reasons[serial.String()]
	return listed
}

// Whether this process is told (Sync) or another replica wrote the revocation, a new CRL is
// there within a second, also in the middle of many.
func TestRunPublishesWithinASecond(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, b *bench) {
		for n := range int64(50) {
			serial := serialOfInt(t, n)
			b.log.revoke(t, b.ca.ID(), serial, certs.KeyCompromise, time.Now(), time.Now().Add(time.Hour))
			if n%2 == 0 {
				if err := b.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if !b.lists(t, serial) {
				t.Fatalf("revocation %d is not listed after a second", n)
			}
		}
	})
}

// A flood of revocations shares publications.
func TestRunCoalesces(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, b *bench) {
		started, publications := time.Now(), 0
		changed := b.Changed()
		for n := int64(0); time.Since(started) < 10*time.Second; n++ {
			b.log.revoke(t, b.ca.ID(), serialOfInt(t, n), certs.Unspecified, time.Now(), time.Now().Add(time.Hour))
			if err := b.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			select {
			case <-changed:
				changed, publications = b.Changed(), publications+1
			default:
			}
		}
		if most := int(10*time.Second/pace) + 2; publications > most || publications < 10 {
			t.Errorf("%d publications of 1000 revocations in ten seconds, want 10 to %d", publications, most)
		}
	})
}

// Without revocations a CRL is renewed each Interval, and never expires.
func TestRunRenews(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, b *bench) {
		last := b.fetch(t, fullPath(b.ca.ID()))
		for range 30 {
			time.Sleep(time.Hour + time.Second)
			synctest.Wait()
			next := b.fetch(t, fullPath(b.ca.ID()))
			if next.Number.Cmp(last.Number) <= 0 || time.Since(next.ThisUpdate) > time.Hour {
				t.Fatalf("CRL %v from %v, now is %v", next.Number, next.ThisUpdate, time.Now())
			}
			if err := b.Healthy(time.Now()); err != nil {
				t.Fatal(err)
			}
			last = next
		}
	})
}

// An unreadable log leaves the CRLs in place, is told by Healthy, and is made up for.
func TestRunSurvivesAnUnreadableLog(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	inBubble(t, func(c *Config) { c.Registerer = registry }, func(t *testing.T, b *bench) {
		before := b.fetch(t, fullPath(b.ca.ID()))
		serial := serialOfInt(t, 1)
		b.log.revoke(t, b.ca.ID(), serial, certs.KeyCompromise, time.Now(), time.Now().Add(12*time.Hour))
		b.log.fail(errors.New("disk I/O error"))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if after := b.fetch(t, fullPath(b.ca.ID())); after.Number.Cmp(before.Number) != 0 {
			t.Errorf("CRL %v was published without the log, after %v", after.Number, before.Number)
		}
		err := b.Healthy(time.Now())
		for _, want := range []string{"late by 1h", "disk I/O error", "tryLater"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Healthy says %v, which lacks %q", err, want)
			}
		}
		if gathered(t, registry, "handfast_revocation_log_errors_total") == 0 {
			t.Error("log errors are not counted")
		}
		b.log.fail(nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if !b.lists(t, serial) {
			t.Error("the revocation is not listed after the log came back")
		}
		if err := b.Healthy(time.Now()); err != nil {
			t.Errorf("unhealthy after the log came back: %v", err)
		}
		if got := gathered(t, registry, "handfast_revocation_crl_next_update_timestamp_seconds"); got != float64(b.fetch(t, fullPath(b.ca.ID())).NextUpdate.Unix()) {
			t.Errorf("metric of nextUpdate is %v", got)
		}
	})
}

// A publisher that nobody runs says so.
func TestHealthyNeedsRun(t *testing.T) {
	b := newBench(t, nil)
	if err := b.Healthy(b.clock.Now()); err != nil {
		t.Errorf("unhealthy when it was just opened: %v", err)
	}
	b.clock.advance(2 * time.Hour)
	if err := b.Healthy(b.clock.Now()); err == nil || !strings.Contains(err.Error(), "late") {
		t.Errorf("healthy two hours later: %v", err)
	}
}

// gathered returns the value of a metric without labels.
func gathered(t testing.TB, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue() + family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
