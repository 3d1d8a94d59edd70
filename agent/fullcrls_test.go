package agent

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/logtest"
)

// Programs that read files need the full CRL: it is fetched after each news, once for all that came together, until
// it lists them, and before it goes stale.
func TestFullCRLsFollowTheFeedForThoseWhoReadFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFeedCA(t), &logtest.Buffer{}
		cfg := ca.config(log)
		cfg.FullCRLs = true
		a, stop := start(t, cfg)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		number := func() int64 {
			list := mustCurrent(t, a).Revocation.Numbers()[ca.pki.IssuerID()]
			if list == nil {
				return 0
			}
			return list.Int64()
		}
		if number() != 1 {
			t.Fatalf("CRL %d; want 1 (log: %s)", number(), log)
		}
		fetched := len(ca.seen("crl"))
		victim := ca.pki.Certificate(ca.pki.ID("victim"), 24*time.Hour)
		for range 20 {
			ca.feed.Revoke(victim.Leaf)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := len(ca.seen("crl")) - fetched; n < 1 || n > 5 {
			t.Errorf("%d fetches while the CA has nothing new; want few", n)
		}
		// The CA publishes late: 21 is what the last entry wants.
		ca.do(func() {
			for ca.crlNumber != "21" {
				ca.publishCRL(victim.Leaf)
			}
		})
		time.Sleep(longestFeedDelay + 2*gatherCRLs)
		synctest.Wait()
		if number() != 21 {
			t.Errorf("CRL %d; want 21", number())
		}
		fetched = len(ca.seen("crl"))
		time.Sleep(24 * time.Hour) // its life
		ca.do(func() { ca.publishCRL(victim.Leaf) })
		time.Sleep(time.Hour)
		synctest.Wait()
		if number() != 22 || len(ca.seen("crl"))-fetched < 3 {
			t.Errorf("CRL %d after a day and %d fetches", number(), len(ca.seen("crl"))-fetched)
		}
		// A change of policy keeps it.
		before := len(ca.seen("state"))
		ca.do(func() { ca.callers = nil })
		time.Sleep(time.Second)
		synctest.Wait()
		if number() != 22 || len(ca.seen("state")) == before {
			t.Errorf("CRL %d after a change of policy", number())
		}
		if strings.Contains(log.String(), string(api.CodeInternal)) {
			t.Error(log)
		}
	})
}

func TestNoFullCRLWithoutAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFeedCA(t), &logtest.Buffer{}
		_, stop := start(t, ca.config(log))
		defer stop()
		for range 3 {
			ca.feed.Revoke(ca.pki.Certificate(ca.pki.ID("victim"), time.Hour).Leaf)
			time.Sleep(time.Hour)
		}
		if n := len(ca.seen("crl")); n != 0 {
			t.Errorf("%d CRLs were fetched", n)
		}
	})
}
