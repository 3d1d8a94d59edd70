package revocation

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"testing"
	"time"

	reference "golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
)

// However many certificates are asked for, the cache holds no more than it may.
func TestOCSPCacheIsBounded(t *testing.T) {
	for _, test := range []struct{ limit, want int }{{64, 64}, {1, 1}, {-1, 0}} {
		b := newBench(t, func(c *Config) { c.OCSPCache = test.limit })
		for n := range int64(300) {
			serial := serialOfInt(t, n)
			b.log.issue(b.ca.ID(), serial)
			b.status(t, serial)
		}
		for n := range int64(100) { // never issued: not worth keeping
			b.status(t, serialOfInt(t, 1000+n))
		}
		if held := len(b.responder.cache.replies); held != test.want {
			t.Errorf("limit %d: %d responses are held, want %d", test.limit, held, test.want)
		}
		for _, kept := range b.responder.cache.replies {
			if len(kept.id) == 0 || !bytes.Contains(kept.head, kept.id) || cap(kept.head) > 512 {
				t.Errorf("a response of %d octets is kept in %d", len(kept.head), cap(kept.head))
			}
		}
	}
}

// Revocations, publications and questions at the same time: once Sync returned, no answer is good.
func TestOCSPNeverGoodAfterSync(t *testing.T) {
	b := newBench(t, nil)
	failures := make(chan error, 8)
	for worker := range int64(4) {
		go func() {
			failures <- func() error {
				for n := range int64(40) {
					serial := serialOfInt(t, worker*1000+n)
					b.log.issue(b.ca.ID(), serial)
					request := marshal(t, nil, b.certID(t, crypto.SHA1, serial))
					b.ask(request) // into the cache
					b.log.revoke(t, b.ca.ID(), serial, certs.KeyCompromise, b.clock.Now(), b.clock.Now().Add(time.Hour))
					if err := b.Sync(context.Background()); err != nil {
						return err
					}
					if got, err := reference.ParseResponse(b.ask(request), nil); err != nil || got.Status != reference.Revoked {
						return fmt.Errorf("serial %s after Sync: %+v, %w", serial, got, err)
					}
				}
				return nil
			}()
		}()
	}
	for range 4 {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
}
