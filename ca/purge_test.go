package ca_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca"
)

// purgesOf counts purges.
type purgesOf struct {
	ca.Ledger
	n atomic.Int64
}

func (p *purgesOf) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	p.n.Add(1)
	return p.Ledger.Purge(ctx, before, limit)
}

// TestTheFirstPurgeComesSoon is about CAs that are started again before a whole interval is over.
func TestTheFirstPurgeComesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spy := &purgesOf{}
		w := newWorld(t, func(cfg *ca.Config) { spy.Ledger, cfg.Ledger = cfg.Ledger, spy })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		for _, step := range []struct {
			after  time.Duration
			purges int64
		}{{29 * time.Second, 0}, {2 * time.Second, 1}, {9 * time.Minute, 1}, {2 * time.Minute, 2}} {
			time.Sleep(step.after)
			synctest.Wait()
			if n := spy.n.Load(); n != step.purges {
				t.Errorf("%d purges %v later, want %d", n, step.after, step.purges)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
