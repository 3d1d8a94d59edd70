package agent

import (
	"crypto/ecdsa"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/internal/logtest"
)

func TestRotatesAtTwoThirdsWithAFreshKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		first := mustCurrent(t, a)
		if err := a.Ready(); err != nil {
			t.Fatal(err)
		}
		due := first.Certificate.Leaf.NotBefore.Add(40 * time.Minute)
		time.Sleep(time.Until(due) - time.Second)
		synctest.Wait()
		if mustCurrent(t, a) != first && !mustCurrent(t, a).Certificate.Leaf.Equal(first.Certificate.Leaf) {
			t.Fatal("renewed before it was due")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		second := mustCurrent(t, a)
		if second.Certificate.Leaf.Equal(first.Certificate.Leaf) {
			t.Fatal("not renewed when it was due")
		}
		if second.Certificate.PrivateKey.(*ecdsa.PrivateKey).Equal(first.Certificate.PrivateKey) {
			t.Error("the key is the old one")
		}
		if second.Policy == nil || second.Revocation == nil {
			t.Error("policy or revocation was lost in the rotation")
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := len(ca.seen("renew")); n < 30 || n > 40 {
			t.Errorf("%d renewals of a certificate of an hour in a day; want about 36", n)
		}
		if err := a.Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestRenewalTimeIgnoresWishesOutsideTheLife(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	to := from.Add(3 * time.Hour)
	for _, wish := range []time.Time{{}, from, from.Add(-time.Hour), to, to.Add(time.Hour)} {
		if got := renewalTime(from, to, wish); got != from.Add(2*time.Hour) {
			t.Errorf("wish %v gives %v; want two thirds", wish, got)
		}
	}
	if wish := from.Add(time.Hour); renewalTime(from, to, wish) != wish {
		t.Error("a sound wish is not followed")
	}
}

// Invariant 22: the last good certificate is served while the CA is away, until it expires, never after.
func TestOutageServesTheLastGoodCertificateUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		leaf := mustCurrent(t, a).Certificate.Leaf
		ca.do(func() { ca.fail = errDown })
		for time.Now().Before(leaf.NotAfter) {
			if got := mustCurrent(t, a); !got.Certificate.Leaf.Equal(leaf) || got.Policy == nil {
				t.Fatal("another snapshot during the outage")
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		time.Sleep(time.Second)
		if _, err := a.Current(); !errors.Is(err, ErrExpired) {
			t.Fatalf("after the expiry Current says %v; want ErrExpired", err)
		}
		if a.Ready() == nil {
			t.Error("ready with an expired certificate")
		}
		ca.do(func() { ca.fail = nil })
		time.Sleep(6 * time.Minute) // the longest backoff and its jitter
		synctest.Wait()
		if got := mustCurrent(t, a); got.Certificate.Leaf.Equal(leaf) {
			t.Fatal("the old certificate")
		}
		if len(ca.seen("rekey")) == 0 {
			t.Error("it came back otherwise than by proof of possession")
		}
		if err := a.Ready(); err != nil {
			t.Errorf("after the outage: %v", err)
		}
	})
}

func TestOutageBacksOffAndTriesMoreOftenTowardsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		ca.life = 30 * time.Hour
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		ca.do(func() { ca.fail = errDown })
		notAfter := mustCurrent(t, a).Certificate.Leaf.NotAfter
		time.Sleep(time.Until(notAfter) - time.Second)
		synctest.Wait()
		renewals := ca.seen("renew")
		if n := len(renewals); n < 100 || n > 400 {
			t.Errorf("%d attempts in 10 hours; want about one in 3 to 5 minutes", n)
		}
		for i := 1; i < 5; i++ {
			gap, before := renewals[i+1].at.Sub(renewals[i].at), renewals[i].at.Sub(renewals[i-1].at)
			if gap <= before {
				t.Errorf("gap %d is %v after one of %v; want it to grow", i, gap, before)
			}
		}
		last := renewals[len(renewals)-1].at
		if left := notAfter.Sub(last); left > 10*time.Second {
			t.Errorf("the last attempt was %v before the expiry; want some in the last seconds", left)
		}
		for _, r := range renewals[1:] {
			if r.csr != renewals[0].csr || r.idem != renewals[0].idem {
				t.Fatal("a repeated renewal is another request: a lost answer would cost a certificate")
			}
		}
	})
}
