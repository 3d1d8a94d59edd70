package broadcast

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

const (
	// snapshotAge is how long a snapshot is handed out: what expired meanwhile is carried
	// for nothing, and its nextUpdate comes nearer.
	snapshotAge = time.Hour
	// expiredFor is for how long after its expiry a certificate stays in snapshots: the
	// clocks of some holders are behind.
	expiredFor = time.Hour
)

// snapshots keeps the newest snapshot, and makes the next one once for all who ask.
type snapshots struct {
	mu       sync.Mutex
	newest   *packet // guarded by mu, as everything below
	building *packet // nil when none is being made
}

// snapshot returns one that the current round continues. One that is good but no longer new
// is returned while another one is made.
func (b *Broadcaster) snapshot(ctx context.Context) (*packet, error) {
	b.snapshots.mu.Lock()
	r, newest, building := b.current.Load(), b.snapshots.newest, b.snapshots.building
	usable := newest != nil && newest.signer == r.signer && newest.to >= r.memory.from
	renew := !usable || r.at.Sub(newest.at) > min(snapshotAge, b.config.Validity/4) || len(r.memory.after(newest.to)) > b.config.Recent/2
	if renew && building == nil {
		building = &packet{done: make(chan struct{})}
		b.snapshots.building = building
		go b.build(building)
	}
	b.snapshots.mu.Unlock()
	if usable {
		return newest, nil
	}
	return building.wait(ctx)
}

// build makes a snapshot into p, which is b.snapshots.building.
func (b *Broadcaster) build(p *packet) {
	began := time.Now()
	p.err = b.fillSnapshot(p)
	b.snapshots.mu.Lock()
	b.snapshots.building = nil
	if p.err == nil {
		b.snapshots.newest = p
	}
	b.snapshots.mu.Unlock()
	close(p.done)
	if p.err != nil {
		b.metrics.errors.WithLabelValues("snapshot").Inc()
		b.config.Logger.Error("no snapshot of what is revoked could be made; it is tried again when somebody needs it", "error", p.err)
		return
	}
	b.metrics.building.Observe(time.Since(began).Seconds())
	b.metrics.snapshotBytes.Set(float64(len(p.bytes)))
}

func (b *Broadcaster) fillSnapshot(p *packet) error {
	expired := b.config.Now().Add(-expiredFor)
	var hashes []uint64
	upTo := b.config.Listed(func(issuer string, serial []byte, notAfter time.Time) bool {
		if notAfter.After(expired) {
			hashes = append(hashes, feed.Hash(issuer, serial))
		}
		return true
	})
	set := feed.NewSet(hashes)
	r := b.current.Load()
	if upTo > r.to { // the publisher was faster: nobody may stand behind the end of what was told
		if _, err := b.advance(context.Background(), true); err != nil {
			return err
		}
		if r = b.current.Load(); upTo > r.to {
			return fmt.Errorf("what is listed holds at %d, but the log ends at %d", upTo, r.to)
		}
	}
	if err := r.pack(p, feed.Statement{To: upTo, Snapshot: set}); err != nil {
		return err
	}
	b.metrics.snapshotEntries.Set(float64(set.Len()))
	return nil
}
