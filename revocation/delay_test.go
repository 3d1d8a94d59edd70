package revocation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/certs"
)

// The delay of what is revoked is counted once for each list, from when it was known, also when a shard
// that was published just before has to wait.
func TestDelaysAreCounted(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	inBubble(t, func(c *Config) { c.Shards, c.Registerer = 1, registry }, func(t *testing.T, b *bench) {
		time.Sleep(2 * time.Second)
		wantDelays(t, registry, 0, 0)
		for i, sum := range []float64{0, 0.25} { // the second comes within the pace
			b.log.revoke(t, b.ca.ID(), serialOfInt(t, int64(i)+1), certs.KeyCompromise, time.Now(), time.Now().Add(time.Hour))
			if err := b.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(i) * 250 * time.Millisecond)
			synctest.Wait()
			wantDelays(t, registry, uint64(i)+1, sum)
		}
	})
}

func wantDelays(t *testing.T, registry *prometheus.Registry, count uint64, sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "handfast_revocation_listed_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			// Where the full list came first the shard came with it, and the next one does not keep a pace.
			h, list := m.GetHistogram(), m.GetLabel()[0].GetValue()
			if got := h.GetSampleSum(); h.GetSampleCount() != count || got > sum || list == "full" && got != sum {
				t.Errorf("%s: %d that waited %v s, want %d and %v s", list, h.GetSampleCount(), got, count, sum)
			}
		}
		return
	}
	t.Error("there is no such metric")
}
