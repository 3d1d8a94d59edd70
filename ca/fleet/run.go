package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/handfast/handfast/ca"
)

const (
	saveInterval = 30 * time.Second
	saveBatch    = 500 // rows in one transaction: some milliseconds of the ledger's time
	saveTimeout  = 10 * time.Second
)

// Run saves what has changed now and then, and once more when ctx has ended; it forgets
// whose certificate has expired for longer than the retention. Call it once, and end it after
// the connections have ended.
func (f *Fleet) Run(ctx context.Context) {
	ticker := time.NewTicker(saveInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f.forgetExpired()
			f.save(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
			defer cancel()
			f.save(last)
			return
		}
	}
}

func (f *Fleet) forgetExpired() {
	now := f.cfg.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.agents {
		if !a.connected(now) && now.Sub(a.row.NotAfter) > f.cfg.Retention {
			f.forget(a)
		}
	}
}

// save makes changed rows durable. What fails is tried again the next time.
func (f *Fleet) save(ctx context.Context) {
	changed := f.changed()
	for len(changed) > 0 {
		n := min(len(changed), saveBatch)
		rows := make([]ca.AgentRow, n)
		f.mu.Lock()
		for i, a := range changed[:n] {
			rows[i], a.dirty = a.row, false
		}
		f.mu.Unlock()
		if err := f.cfg.Ledger.SaveAgents(ctx, rows); err != nil {
			f.saveFailed(ctx, changed, err)
			return
		}
		changed = changed[n:]
	}
}

func (f *Fleet) changed() []*agent {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []*agent
	for _, a := range f.agents {
		if a.dirty {
			list = append(list, a)
		}
	}
	return list
}

func (f *Fleet) saveFailed(ctx context.Context, unsaved []*agent, err error) {
	f.mu.Lock()
	for _, a := range unsaved {
		a.dirty = true
	}
	f.mu.Unlock()
	if ctx.Err() == nil {
		f.metrics.failures.Inc()
		f.cfg.Logger.ErrorContext(ctx, "what agents enforce was not saved; it is tried again", slog.Int("agents", len(unsaved)), slog.Any("cause", err))
	}
}
