package agent

import (
	"crypto/ecdsa"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

func TestRotatesAtTwoThirdsWithAFreshKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logBuffer{}
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		first := mustCurrent(t, a)
		if err := a.Ready(); err != nil {
			t.Fatal(err)
		}
		due := first.Certificate.Leaf.NotBefore.Add(40 * time.Minute)
		time.Sleep(due.Sub(time.Now()) - time.Second)
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

func TestJitterSpreadsRenewals(t *testing.T) {
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	issued := base.Add(-40 * time.Minute)
	early, late := spread(base, issued, time.Hour, 0), spread(base, issued, time.Hour, 0.999)
	if got := base.Sub(early); got != 3*time.Minute {
		t.Errorf("earliest is %v before; want 3m, a twentieth of the life", got)
	}
	if got := late.Sub(base); got < 2*time.Minute || got > 3*time.Minute {
		t.Errorf("latest is %v after; want almost 3m", got)
	}
	soon := spread(base, base.Add(-4*time.Second), time.Hour, 0)
	if got := base.Sub(soon); got != time.Second {
		t.Errorf("a renewal in 4s is moved by %v; want 1s, a quarter of it", got)
	}
	if got := spread(base, base.Add(-8*time.Second), time.Hour, 0); got != base.Add(-2*time.Second) {
		t.Errorf("a renewal due in 8s is moved to %v before; want 2s, or it would come at once, again and again", base.Sub(got))
	}
	if got := spread(base, base.Add(time.Minute), time.Hour, 0); got != base {
		t.Errorf("an overdue renewal is moved to %v", got)
	}
	for range 1000 {
		if j := randomJitter(); j < 0 || j >= 1 {
			t.Fatalf("jitter %v is not in [0,1)", j)
		}
	}
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
		ca, log := newFakeCA(t), &logBuffer{}
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
		ca, log := newFakeCA(t), &logBuffer{}
		ca.life = 30 * time.Hour
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		ca.do(func() { ca.fail = errDown })
		notAfter := mustCurrent(t, a).Certificate.Leaf.NotAfter
		time.Sleep(notAfter.Sub(time.Now()) - time.Second)
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

func TestBackoffHonoursRetryAfterAndJitter(t *testing.T) {
	busy := &api.Error{Code: api.CodeRateLimited, RetryAfter: time.Minute}
	fixed := func(j float64) *backoff { return &backoff{jitter: func() float64 { return j }} }
	if got := fixed(0).next(busy, 0); got != time.Minute {
		t.Errorf("waits %v; want Retry-After", got)
	}
	if got := fixed(0.5).next(busy, 0); got <= time.Minute || got > 66*time.Second {
		t.Errorf("waits %v; want a little more than Retry-After, or all come at once", got)
	}
	forever := &api.Error{Code: api.CodeUnavailable, RetryAfter: 24 * time.Hour}
	if got := fixed(0).next(forever, 0); got != longestAdvice {
		t.Errorf("waits %v; want at most %v", got, longestAdvice)
	}
	b := fixed(0.999)
	var last time.Duration
	for range 20 {
		last = b.next(errDown, 0)
	}
	if last > longestDelay || last < longestDelay*9/10 {
		t.Errorf("the longest delay is %v; want about %v", last, longestDelay)
	}
	if got := b.next(errDown, time.Minute); got > 6*time.Second {
		t.Errorf("waits %v with a minute of life left", got)
	}
	b.reset()
	if got := b.next(errDown, 0); got > firstDelay {
		t.Errorf("after a success waits %v", got)
	}
}

func TestLongPowerOffRecoversByItselfWithinGrace(t *testing.T) {
	for _, algorithm := range []string{"ecdsa-p256", "ecdsa-p384", "ed25519"} {
		t.Run(algorithm, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, log := newFakeCA(t), &logBuffer{}
				cfg := ca.config(log)
				cfg.StateDir, cfg.KeyAlgorithm = filepath.Join(t.TempDir(), "state"), algorithm
				_, stop := start(t, cfg)
				synctest.Wait()
				stop()
				time.Sleep(20 * time.Hour) // off, past the expiry
				cfg.Token = nil
				a, stop := start(t, cfg)
				defer stop()
				if _, err := a.Current(); !errors.Is(err, ErrExpired) {
					t.Errorf("before the rekey Current says %v; want ErrExpired", err)
				}
				synctest.Wait()
				mustCurrent(t, a)
				if n := len(ca.seen("rekey")); n != 1 {
					t.Errorf("%d rekeys; want 1", n)
				}
			})
		})
	}
}

func TestBeyondGraceWaitsForANewTokenAndTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logBuffer{}
		tokenFile := filepath.Join(t.TempDir(), "token")
		os.WriteFile(tokenFile, []byte(ca.token("first")+"\n"), 0o600)
		cfg := ca.config(log)
		cfg.StateDir, cfg.Token = filepath.Join(t.TempDir(), "state"), TokenFile(tokenFile)
		_, stop := start(t, cfg)
		synctest.Wait()
		stop()
		time.Sleep(26 * time.Hour) // past the grace
		a, stop := start(t, cfg)
		defer stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(ca.seen("enrol")) + len(ca.seen("rekey")); n != 1 {
			t.Errorf("%d requests; want only the first enrolment: nothing else can succeed", n)
		}
		if n := strings.Count(log.String(), "waiting for a new enrolment token"); n != 1 {
			t.Errorf("logged %d times what to do; want once:\n%s", n, log)
		}
		if !strings.Contains(log.String(), "handfast token NAME") {
			t.Error("the log does not say what to do")
		}
		os.WriteFile(tokenFile, []byte(ca.token("second")), 0o600)
		time.Sleep(2 * tokenPoll)
		synctest.Wait()
		mustCurrent(t, a)
	})
}

func TestRevokedAgentStopsRenewingUntilANewTokenComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logBuffer{}
		tokenFile := filepath.Join(t.TempDir(), "token")
		os.WriteFile(tokenFile, []byte(ca.token("first")), 0o600)
		cfg := ca.config(log)
		cfg.Token = TokenFile(tokenFile)
		a, stop := start(t, cfg)
		defer stop()
		synctest.Wait()
		leaf := mustCurrent(t, a).Certificate.Leaf
		ca.do(func() { ca.revoked[leaf.SerialNumber.Text(16)] = true })
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		if n := len(ca.seen("renew")); n != 1 {
			t.Errorf("%d renewals although the first was refused as revoked", n)
		}
		os.WriteFile(tokenFile, []byte(ca.token("second")), 0o600)
		time.Sleep(2 * tokenPoll)
		synctest.Wait()
		if mustCurrent(t, a).Certificate.Leaf.Equal(leaf) {
			t.Fatal("the new token was not taken")
		}
	})
}

func TestLostAnswersAreRecoveredWithTheSameRequest(t *testing.T) {
	for _, crash := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ca, log := newFakeCA(t), &logBuffer{}
			ca.loseNext = true
			cfg := ca.config(log)
			cfg.StateDir = filepath.Join(t.TempDir(), "state")
			a, stop := start(t, cfg)
			synctest.Wait()
			if _, err := a.Current(); !errors.Is(err, ErrNotEnrolled) {
				t.Fatalf("Current says %v; the answer was lost", err)
			}
			if crash {
				stop()
				a, stop = start(t, cfg)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			mustCurrent(t, a)
			enrolments := ca.seen("enrol")
			if len(enrolments) != 2 || enrolments[0].idem != enrolments[1].idem || enrolments[0].csr != enrolments[1].csr || enrolments[0].idem == "" {
				t.Errorf("crash %v: %d enrolments; want the same request twice", crash, len(enrolments))
			}
			// The same for a renewal.
			ca.do(func() { ca.loseNext = true })
			time.Sleep(45 * time.Minute)
			synctest.Wait()
			renewals := ca.seen("renew")
			if len(renewals) != 2 || renewals[0].idem != renewals[1].idem || renewals[0].idem == enrolments[0].idem {
				t.Errorf("%d renewals; want the same request twice, with a key of its own", len(renewals))
			}
			stop()
		})
	}
}

func TestUsedTokenIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logBuffer{}
		ca.used[ca.token("first")] = true
		_, stop := start(t, ca.config(log))
		defer stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(ca.seen("enrol")); n != 1 {
			t.Errorf("%d enrolments with a token that the CA refused; want 1", n)
		}
		if !strings.Contains(log.String(), "token_used") || !strings.Contains(log.String(), "handfast token NAME") {
			t.Errorf("the log does not say what is wrong and what to do:\n%s", log)
		}
	})
}

func TestAnswersThatDoNotFitAreNotUsed(t *testing.T) {
	tests := []struct {
		name   string
		change func(ca *fakeCA)
		want   string
	}{
		{"another service's certificate", func(ca *fakeCA) { ca.id = ca.pki.ID("other") }, "it is for spiffe://test.example/other"},
		{"roots that do not vouch for it", func(ca *fakeCA) { ca.roots = [][]byte{newFakeCA(ca.t).pki.Root.Raw} }, "does not lead to the CA's roots"},
		{"no roots", func(ca *fakeCA) { ca.roots = nil }, "no certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, log := newFakeCA(t), &logBuffer{}
				a, stop := start(t, ca.config(log))
				defer stop()
				synctest.Wait()
				before := mustCurrent(t, a)
				ca.do(func() { tt.change(ca) })
				time.Sleep(45 * time.Minute)
				synctest.Wait()
				after := mustCurrent(t, a)
				if !after.Certificate.Leaf.Equal(before.Certificate.Leaf) || len(after.Bundle.Roots()) != 1 || !after.Bundle.Roots()[0].Equal(ca.pki.Root) {
					t.Fatal("the answer was used")
				}
				if !strings.Contains(log.String(), tt.want) {
					t.Errorf("log lacks %q:\n%s", tt.want, log)
				}
			})
		})
	}
}

func TestWrongClockIsNamedAndCostsNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logBuffer{}
		ca.life = 30 * time.Minute
		slow := time.Hour
		cfg := ca.config(log)
		cfg.Now = func() time.Time { return time.Now().Add(-slow) }
		a, stop := start(t, cfg)
		defer stop()
		synctest.Wait()
		if _, err := a.Current(); !errors.Is(err, ErrNotYetValid) {
			t.Fatalf("Current says %v; want ErrNotYetValid", err)
		}
		if ca, known := a.CATime(); !known || ca.Sub(time.Now()).Abs() > time.Second {
			t.Errorf("the CA's clock is taken for %v, %v; it is %v", ca, known, time.Now())
		}
		for _, want := range []string{"clock is wrong", "differ", "own_clock=", "ca_clock="} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log lacks %q:\n%s", want, log)
			}
		}
		slow = 0 // the clock is corrected
		time.Sleep(time.Second)
		mustCurrent(t, a)
		if n := len(ca.seen("enrol")); n != 1 {
			t.Errorf("%d enrolments; want 1", n)
		}
	})
}

func TestFullDiskKeepsTheCertificateAndSavesItLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logBuffer{}
		a, err := New(ca.config(log))
		if err != nil {
			t.Fatal(err)
		}
		broken := &brokenStore{err: errors.New("no space left on device"), pendingToo: true}
		a.store = broken
		go a.Run(t.Context())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(ca.seen("enrol")); n != 0 {
			t.Errorf("%d requests left although none could be recovered", n)
		}
		broken.set(func() { broken.pendingToo = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		mustCurrent(t, a)
		if s := a.Status(); s.Saved || s.LastError == nil || s.LastError.During != "save" {
			t.Errorf("status %+v does not say that nothing is saved", s)
		}
		if n := len(ca.seen("enrol")); n != 1 {
			t.Errorf("%d enrolments; want one", n)
		}
		broken.set(func() { broken.err = nil })
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if !a.Status().Saved || broken.saved == 0 {
			t.Error("not saved although there is room again")
		}
	})
}

func TestRootsRotateWithOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logBuffer{}
		cfg := ca.config(log)
		cfg.StateDir = filepath.Join(t.TempDir(), "state")
		a, stop := start(t, cfg)
		synctest.Wait()
		serial := mustCurrent(t, a).Certificate.Leaf.SerialNumber
		next := newFakeCA(t).pki.Root
		ca.do(func() { ca.roots = append(ca.roots, next.Raw) })
		synctest.Wait()
		if got := len(mustCurrent(t, a).Bundle.Roots()); got != 2 {
			t.Fatalf("%d roots; want old and new", got)
		}
		// Roots under which the own certificate is worth nothing are refused.
		ca.do(func() { ca.roots = [][]byte{next.Raw} })
		time.Sleep(time.Second)
		synctest.Wait()
		if got := len(mustCurrent(t, a).Bundle.Roots()); got != 2 {
			t.Fatalf("%d roots; the service is cut off from its own root", got)
		}
		stop()
		restarted, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer restarted.Close()
		if got := mustCurrent(t, restarted); len(got.Bundle.Roots()) != 2 || got.Certificate.Leaf.SerialNumber.Cmp(serial) != 0 {
			t.Error("the roots did not survive a restart")
		}
	})
}

func TestPolicyFollowsTheCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logBuffer{}
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		gateway, batch := ca.pki.ID("gateway"), ca.pki.ID("batch")
		if mustCurrent(t, a).Policy.Allows(gateway) != nil || mustCurrent(t, a).Policy.Allows(batch) == nil {
			t.Fatal("not the CA's policy")
		}
		ca.do(func() { ca.callers = []string{batch.String()} })
		synctest.Wait() // no time passes: the long poll was waiting
		if mustCurrent(t, a).Policy.Allows(gateway) == nil || mustCurrent(t, a).Policy.Allows(batch) != nil {
			t.Fatal("the change did not arrive at once")
		}
		// A policy that cannot be read changes nothing, and is asked for again.
		ca.do(func() { ca.callers = []string{"not an identity"} })
		time.Sleep(time.Second)
		synctest.Wait()
		if mustCurrent(t, a).Policy.Allows(batch) != nil {
			t.Error("a malformed answer replaced the policy")
		}
		ca.do(func() { ca.callers = nil })
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if mustCurrent(t, a).Policy.Allows(batch) == nil {
			t.Error("no callers means nobody")
		}
	})
}

func TestCRLsOnlyRise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logBuffer{}
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		number := func() *big.Int { return mustCurrent(t, a).Revocation.Numbers()[ca.pki.IssuerID()] }
		if number().Int64() != 1 {
			t.Fatalf("CRL number %v; want 1", number())
		}
		victim := ca.pki.Certificate(ca.pki.ID("victim"), time.Hour)
		old := ca.crl
		ca.do(func() { ca.publishCRL(victim.Leaf) })
		synctest.Wait()
		if number().Int64() != 2 {
			t.Fatalf("CRL number %v; want 2 at once", number())
		}
		// The CA promises a number that its CRL does not have: the held one stays.
		ca.do(func() { ca.crl, ca.crlNumber = old, "3" })
		time.Sleep(time.Second)
		synctest.Wait()
		if number().Int64() != 2 {
			t.Fatalf("CRL number %v; an older one replaced it", number())
		}
		ca.do(func() { ca.crl = newFakeCA(t).crl })
		time.Sleep(time.Minute)
		synctest.Wait()
		if number() == nil || number().Int64() != 2 {
			t.Fatal("another issuer's CRL replaced it")
		}
		// Meanwhile a change of policy arrives at once.
		batch := ca.pki.ID("batch")
		ca.do(func() { ca.callers = []string{batch.String()} })
		synctest.Wait()
		if err := mustCurrent(t, a).Policy.Allows(batch); err != nil {
			t.Errorf("a CRL that cannot be had keeps policy away: %v", err)
		}
		if !strings.Contains(log.String(), "another issuer's") {
			t.Errorf("the log does not say so:\n%s", log)
		}
		var _ certs.Source = a
	})
}
