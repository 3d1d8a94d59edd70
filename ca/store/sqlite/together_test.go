package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/storetest"
)

// TestWhatWaitsSharesACommit holds the writer in a commit until n others wait, n on both sides of a statement's and a
// commit's bounds. All of them are recorded in as few commits as there must be, and every row is its own.
func TestWhatWaitsSharesACommit(t *testing.T) {
	for _, test := range []struct{ waiting, commits int }{
		{1, 1}, {3, 1}, {maxTogether - 1, 1}, {maxTogether, 1}, {maxTogether + 1, 1}, {maxBatch, 1}, {maxBatch + 1, 2},
	} {
		t.Run(fmt.Sprint(test.waiting), func(t *testing.T) {
			hold, held := make(chan struct{}), make(chan struct{}, maxBatch)
			s := openWith(t, hooks{beforeCommit: func() error { held <- struct{}{}; <-hold; return nil }})
			asked := make([]ca.Issuance, test.waiting+1)
			errs := make(chan error, len(asked))
			for i := range asked {
				c := storetest.Certificate(fmt.Sprintf("service/%d", i%5))
				c.DER = append(c.DER, byte(i), byte(i>>8))
				id := ca.Placed(uint32(i/3), c.Serial.String())
				asked[i] = ca.Issuance{Certificate: c, Idempotency: &ca.Idempotency{Key: id, ExpiresAt: c.NotAfter}}
				if i%2 == 0 { // renewals have none
					asked[i].OneTime = &ca.OneTime{ID: id, ExpiresAt: c.NotAfter}
				}
				go func() {
					_, replayed, err := s.RecordIssuance(context.Background(), asked[i])
					if replayed {
						err = fmt.Errorf("%d is said to be a repetition: %w", i, err)
					}
					errs <- err
				}()
				if i == 0 {
					<-held
				}
			}
			for len(s.writer.queue) < test.waiting {
				time.Sleep(time.Millisecond)
			}
			close(hold)
			for range asked {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			if len(held) != test.commits {
				t.Errorf("%d commits, want %d", len(held), test.commits)
			}
			for i, a := range asked {
				first, err := s.Replay(t.Context(), a.Idempotency.Key, a.Idempotency.Digest)
				if err != nil || first.Serial != a.Certificate.Serial || !bytes.Equal(first.DER, a.Certificate.DER) {
					t.Errorf("%d: its key leads to %s, %v", i, first.Serial, err)
				}
			}
		})
	}
}
