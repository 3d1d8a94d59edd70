package agent

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/logtest"
)

// A million revoked serials, as a snapshot over the wire, its signature checked, applied, saved and published, stay
// small: that is what agents hold instead of CRLs of 36 MB.
func TestAMillionRevokedSerialsStaySmall(t *testing.T) {
	if testing.Short() {
		t.Skip("a million serials take a second")
	}
	const count, limit = 1_000_000, 16 << 20
	ca, log := newFeedCA(t), &logtest.Buffer{}
	hashes := make([]uint64, count)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range hashes {
		hashes[i] = random.Uint64()
	}
	statement := ca.feed.Statement(0)
	statement.Snapshot = feed.NewSet(hashes)
	size := len(statement.Snapshot.Bytes())
	message := ca.feed.Message(statement)
	ca.snapshot = &message
	cfg := ca.config(log)
	cfg.StateDir = t.TempDir() + "/state"
	before := heap()
	began := time.Now()
	a, stop := start(t, cfg)
	waitFor(t, func() bool { return a.Status().Feed != nil && a.Status().Feed.Enforced > 0 })
	took := time.Since(began)
	grown := heap() - before
	if got := a.Status().Feed.Revoked; got != count {
		t.Fatalf("%d certificates; want %d", got, count)
	}
	t.Logf("on the wire %d bytes, %.2f a certificate; the heap grew by %.1f MB; enforced, saved and acknowledged after %v", size, float64(size)/count, float64(grown)/(1<<20), took)
	if grown > limit {
		t.Errorf("the heap grew by %d bytes; at most %d", grown, limit)
	}
	stop()
	runtime.KeepAlive(message)
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
