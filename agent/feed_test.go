package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/logtest"
)

// newFeedCA is a CA whose feed covers its issuer, so that no CRL is named.
func newFeedCA(t *testing.T) *fakeCA {
	ca := newFakeCA(t)
	ca.feedOnly = true
	return ca
}

// judge is what a's snapshot says of a peer; "" lets it in.
func judge(t *testing.T, a *Agent, peer *tls.Certificate) certs.Cause {
	t.Helper()
	err := judgeRefusal(t, a, peer)
	if err == nil {
		return ""
	}
	return err.Cause
}

func judgeRefusal(t *testing.T, a *Agent, peer *tls.Certificate) *certs.Refusal {
	t.Helper()
	chain, err := parseCertificates("chain", peer.Certificate, maxChain)
	if err != nil {
		t.Fatal(err)
	}
	var refusal *certs.Refusal
	if _, err := certs.Verify(chain, mustCurrent(t, a), x509.ExtKeyUsageServerAuth, a.now()); errors.As(err, &refusal) {
		return refusal
	}
	return nil
}

func (ca *fakeCA) acknowledged() uint64 {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.acked
}

func TestRevocationArrivesByTheFeedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFeedCA(t), &logtest.Buffer{}
		a, stop := start(t, ca.config(log))
		synctest.Wait()
		if err := a.Ready(); err != nil {
			t.Fatal(err)
		}
		victim, other := ca.pki.Certificate(ca.pki.ID("victim"), 24*time.Hour), ca.pki.Certificate(ca.pki.ID("other"), 24*time.Hour)
		if got := judge(t, a, victim); got != "" {
			t.Fatalf("before: %s", got)
		}
		sequence := ca.feed.Revoke(victim.Leaf)
		synctest.Wait() // no time passes
		refusal := judgeRefusal(t, a, victim)
		if refusal == nil || refusal.Cause != certs.CauseRevoked || !strings.Contains(refusal.Error(), "superseded") {
			t.Errorf("revoked: %v; want reason and time", refusal)
		}
		if got := judge(t, a, other); got != "" {
			t.Errorf("another certificate: %s", got)
		}
		if got := ca.acknowledged(); got != sequence {
			t.Errorf("acknowledged %d; want %d", got, sequence)
		}
		ca.feed.Add(other.Leaf, feed.Held)
		synctest.Wait()
		held := judge(t, a, other)
		ca.feed.Add(other.Leaf, feed.Released)
		synctest.Wait()
		if released := judge(t, a, other); held != certs.CauseRevoked || released != "" {
			t.Errorf("held %q, released %q", held, released)
		}
		if n := len(ca.seen("crl")); n != 0 {
			t.Errorf("%d CRLs were fetched", n)
		}
		stop()
		if ca.left != 1 {
			t.Error("the CA was not told that the agent stops")
		}
	})
}

// An acknowledgement means: durable here, and refused and cut by everybody who enforces.
func TestAcknowledgedIsWhatIsEnforcedAndSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFeedCA(t), &logtest.Buffer{}
		a, err := New(ca.config(log))
		if err != nil {
			t.Fatal(err)
		}
		disk := &brokenStore{}
		a.store = disk
		first, second := a.Enforcer(), a.Enforcer()
		go a.Run(t.Context())
		synctest.Wait()
		report := func(enforced ...func(*certs.Snapshot)) {
			for _, f := range enforced {
				f(mustCurrent(t, a))
			}
			synctest.Wait()
		}
		report(first, second)
		victim := ca.pki.Certificate(ca.pki.ID("victim"), time.Hour)
		before := ca.acknowledged()
		sequence := ca.feed.Revoke(victim.Leaf)
		synctest.Wait()
		if judge(t, a, victim) != certs.CauseRevoked || ca.acknowledged() != before {
			t.Fatalf("acknowledged %d before anybody enforced it", ca.acknowledged())
		}
		report(first)
		if ca.acknowledged() != before {
			t.Fatal("acknowledged although one of two has not cut yet")
		}
		report(second)
		if got := ca.acknowledged(); got != sequence {
			t.Fatalf("acknowledged %d; want %d", got, sequence)
		}
		disk.set(func() { disk.err, disk.viewToo = errors.New("no space left on device"), true })
		next := ca.feed.Revoke(ca.pki.Certificate(ca.pki.ID("victim"), time.Hour).Leaf)
		synctest.Wait()
		report(first, second)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := ca.acknowledged(); got != sequence {
			t.Fatalf("acknowledged %d, which a restart would forget", got)
		}
		if !strings.Contains(log.String(), "a restart while the CA is away would not know it") {
			t.Errorf("the log does not say so:\n%s", log)
		}
		disk.set(func() { disk.viewToo = false })
		time.Sleep(longestFeedDelay)
		synctest.Wait()
		if got := ca.acknowledged(); got != next {
			t.Errorf("acknowledged %d once it was saved; want %d", got, next)
		}
	})
}

// Heartbeats wake nobody and are not written to disk, but whoever asks sees how fresh the feed is.
func TestHeartbeatsAreCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFeedCA(t), &logtest.Buffer{}
		a, err := New(ca.config(log))
		if err != nil {
			t.Fatal(err)
		}
		disk := &brokenStore{}
		a.store = disk
		go a.Run(t.Context())
		time.Sleep(time.Minute)
		synctest.Wait()
		var saved, told int
		disk.set(func() { saved = disk.views })
		changed := a.Changed()
		for range 600 {
			time.Sleep(time.Second)
			synctest.Wait()
			if next := a.Changed(); next != changed {
				changed, told = next, told+1
			}
			if age := time.Since(mustCurrent(t, a).Revocation.Feed().SignedAt()); age > 5*time.Second {
				t.Fatalf("the snapshot's feed is %v old", age)
			}
		}
		disk.set(func() { saved = disk.views - saved })
		if told < 9 || told > 11 || saved < 9 || saved > 11 {
			t.Errorf("in ten minutes without news told %d times, saved %d times; want about ten", told, saved)
		}
		if states := len(ca.seen("state")); states > 2 {
			t.Errorf("the CA's state was asked for %d times", states)
		}
	})
}

// A silent feed: until the service's limit the last state holds, then every peer is refused, and those who hold
// connections are told at that moment.
func TestSilenceEndsAtTheServicesLimit(t *testing.T) {
	tests := []struct {
		name         string
		limit, until time.Duration
	}{
		{"the service's own limit", 90 * time.Second, 90 * time.Second},
		{"the default: until the statement's nextUpdate", 0, 10 * time.Minute},
		{"a limit beyond nextUpdate does not stretch it", time.Hour, 10 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, log := newFeedCA(t), &logtest.Buffer{}
				ca.maxSilence, ca.feed.Valid = tt.limit, 10*time.Minute
				registry := prometheus.NewRegistry()
				cfg := ca.config(log)
				cfg.Registerer = registry
				a, stop := start(t, cfg)
				defer stop()
				peer := ca.pki.Certificate(ca.pki.ID("peer"), time.Hour)
				time.Sleep(time.Minute)
				synctest.Wait()
				ca.do(func() { ca.fail = errDown })
				last := mustCurrent(t, a).Revocation.Feed().SignedAt()
				time.Sleep(time.Until(last.Add(tt.until)))
				synctest.Wait()
				changed := a.Changed()
				if got := judge(t, a, peer); got != "" || a.Ready() != nil {
					t.Fatalf("at the limit: %s, %v", got, a.Ready())
				}
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				if got := judge(t, a, peer); got != certs.CauseRevocationStale {
					t.Errorf("behind the limit: %q", got)
				}
				select {
				case <-changed:
				default:
					t.Error("nobody was told")
				}
				if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "silent") {
					t.Errorf("Ready says %v", err)
				}
				if n := strings.Count(log.String(), "silent for too long"); n != 1 || !strings.Contains(log.String(), "--max-silence") {
					t.Errorf("logged %d times:\n%s", n, log)
				}
				if left := gather(t, registry)["handfast_agent_feed_silence_left_seconds"]; left > 0 || left < -1 {
					t.Errorf("silence_left %v", left)
				}
				ca.do(func() { ca.fail = nil })
				time.Sleep(2 * longestFeedDelay)
				synctest.Wait()
				if got := judge(t, a, peer); got != "" || a.Ready() != nil || !strings.Contains(log.String(), "speaks again") {
					t.Errorf("afterwards: %q, %v", got, a.Ready())
				}
			})
		})
	}
}

// State from before there was a feed loads and holds; once the feed is there its CRLs are let go.
func TestStateFromBeforeTheFeedMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		victim := ca.pki.Certificate(ca.pki.ID("victim"), 24*time.Hour)
		ca.publishCRL(victim.Leaf)
		ca.noFeed, ca.noPoll = &api.Error{Code: api.CodeNotFound, Status: 404}, &api.Error{Code: api.CodeNotFound, Status: 404}
		cfg := ca.config(log)
		cfg.StateDir = filepath.Join(t.TempDir(), "state")
		a, stop := start(t, cfg)
		synctest.Wait()
		stop()
		old := enforcement{ID: ca.id, Callers: []string{"*"}, PolicyEpoch: 1, CRLs: a.rules.raw.CRLs, ConfirmedAt: time.Now()}
		data, err := encodeState(old)
		if err != nil || strings.Contains(string(data), "versions") {
			t.Fatalf("not as it was: %v, %s", err, data)
		}
		os.WriteFile(filepath.Join(cfg.StateDir, enforcementFile), data, 0o600)
		ca.do(func() { ca.fail = errDown })
		a, stop = start(t, cfg)
		synctest.Wait()
		if err := a.Ready(); err != nil || judge(t, a, victim) != certs.CauseRevoked {
			t.Fatalf("the old state does not hold: %v", err)
		}
		ca.feed.Revoke(victim.Leaf)
		ca.do(func() { ca.fail, ca.noFeed, ca.noPoll, ca.feedOnly = nil, nil, nil, true })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if crls := a.Status().CRLs; len(crls) != 0 || a.Status().Feed == nil || judge(t, a, victim) != certs.CauseRevoked {
			t.Errorf("CRLs %v, feed %+v", crls, a.Status().Feed)
		}
		stop()
	})
}

func TestRestartDuringAnOutageKnowsTheFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFeedCA(t), &logtest.Buffer{}
		cfg := ca.config(log)
		cfg.StateDir = filepath.Join(t.TempDir(), "state")
		a, stop := start(t, cfg)
		victim, other := ca.pki.Certificate(ca.pki.ID("victim"), 24*time.Hour), ca.pki.Certificate(ca.pki.ID("other"), 24*time.Hour)
		ca.feed.Revoke(victim.Leaf)
		synctest.Wait()
		id := a.Status().Feed.Agent
		stop()
		ca.do(func() { ca.fail = errDown })
		a, stop = start(t, cfg)
		if err := a.Ready(); err != nil || judge(t, a, victim) != certs.CauseRevoked || judge(t, a, other) != "" {
			t.Errorf("before any answer: %v, %q, %q", err, judge(t, a, victim), judge(t, a, other))
		}
		if got := a.Status().Feed.Agent; got != id || !api.ValidAgentID(id) {
			t.Errorf("agent %q is %q after a restart", id, got)
		}
		stop()
		flip(t, filepath.Join(cfg.StateDir, feedFile))
		a, stop = start(t, cfg)
		if a.Ready() == nil || judge(t, a, other) == "" {
			t.Error("peers are let in although the feed's state is damaged")
		}
		ca.do(func() { ca.fail = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if judge(t, a, victim) != certs.CauseRevoked || judge(t, a, other) != "" || !strings.Contains(log.String(), "until the CA's feed has come") {
			t.Error("it did not recover")
		}
		stop()
	})
}

// Policy that changes reaches agents through the feed's versions, and one question each.
func TestChangesOfPolicyAreFetchedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFeedCA(t), &logtest.Buffer{}
		_, stop := start(t, ca.config(log))
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for range 5 {
			before := len(ca.seen("state"))
			ca.do(func() { ca.callers = nil })
			synctest.Wait()
			if n := len(ca.seen("state")) - before; n != 0 {
				t.Error("agents ask all at once")
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := len(ca.seen("state")) - before; n != 1 {
				t.Errorf("%d questions after a change; want 1", n)
			}
		}
	})
}
