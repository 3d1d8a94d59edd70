package agent

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

// A hit in the compact set alone is refused, and asked about once: the answer says why, or lets the peer in.
func TestHitsInTheCompactSetAreConfirmed(t *testing.T) {
	tests := []struct {
		name   string
		answer func(sequence uint64) *api.RevocationState
		want   certs.Cause
		log    string
	}{
		{"revoked", func(n uint64) *api.RevocationState {
			return &api.RevocationState{Revoked: true, Reason: certs.KeyCompromise, At: time.Now(), Sequence: n}
		}, certs.CauseRevoked, "reason=keyCompromise"},
		{"not revoked", func(n uint64) *api.RevocationState { return &api.RevocationState{Sequence: n} }, "", "by coincidence"},
		{"not revoked, says a CA that is behind", func(n uint64) *api.RevocationState { return &api.RevocationState{Sequence: n - 1} }, certs.CauseRevoked, "older than what is known"},
		{"unknown there", func(uint64) *api.RevocationState { return nil }, certs.CauseRevoked, "does not know"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, log := newFeedCA(t), &logtest.Buffer{}
				victim := ca.pki.Certificate(ca.pki.ID("victim"), 24*time.Hour)
				sequence := ca.feed.Revoke(victim.Leaf)
				a, stop := start(t, ca.config(log)) // begins with a snapshot
				defer stop()
				synctest.Wait()
				ca.do(func() { ca.checked = tt.answer(sequence) })
				refusal := judgeRefusal(t, a, victim)
				if refusal == nil || !refusal.Unconfirmed {
					t.Fatalf("%v; want one that is to be confirmed", refusal)
				}
				changed := a.Changed()
				for range 100 {
					a.Refused(refusal)
				}
				synctest.Wait()
				asked := ca.seen("check")
				if len(asked) != 1 || asked[0].idem != ca.pki.IssuerID()+"/"+refusal.Serial.String() {
					t.Errorf("asked %+v; want once", asked)
				}
				if got := judge(t, a, victim); got != tt.want {
					t.Errorf("afterwards %q; want %q", got, tt.want)
				}
				if tt.want == "" {
					select {
					case <-changed:
					default:
						t.Error("nobody was told")
					}
				}
				if !strings.Contains(log.String(), tt.log) {
					t.Errorf("log lacks %q:\n%s", tt.log, log)
				}
			})
		})
	}
}

// A question that nobody answers is asked again, but not with each refusal; and what is certain asks nothing.
func TestFullChecksArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFeedCA(t), &logtest.Buffer{}
		victim, certain := ca.pki.Certificate(ca.pki.ID("victim"), 24*time.Hour), ca.pki.Certificate(ca.pki.ID("certain"), 24*time.Hour)
		ca.feed.Revoke(victim.Leaf)
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		ca.feed.Revoke(certain.Leaf)
		synctest.Wait()
		a.Refused(judgeRefusal(t, a, certain))
		a.Refused(nil)
		synctest.Wait()
		if n := len(ca.seen("check")); n != 0 {
			t.Errorf("%d questions about what is certain", n)
		}
		refusal := judgeRefusal(t, a, victim)
		ca.do(func() { ca.fail = errDown })
		for range 600 {
			a.Refused(refusal)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if n := len(ca.seen("check")); n < 3 || n > 8 {
			t.Errorf("%d questions in a minute; want about one in ten seconds", n)
		}
	})
}
