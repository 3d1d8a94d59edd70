package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/internal/logtest"
)

func TestLongPowerOffRecoversByItselfWithinGrace(t *testing.T) {
	for _, algorithm := range []string{"ecdsa-p256", "ecdsa-p384", "ed25519"} {
		t.Run(algorithm, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, log := newFakeCA(t), &logtest.Buffer{}
				cfg := ca.config(log)
				cfg.StateDir, cfg.KeyAlgorithm = filepath.Join(t.TempDir(), "state"), algorithm
				_, stop := start(t, cfg)
				synctest.Wait()
				stop()
				time.Sleep(20 * time.Hour) // off, past the expiry
				cfg.Token = nil
				a, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := a.Current(); !errors.Is(err, ErrExpired) {
					t.Errorf("before the rekey Current says %v; want ErrExpired", err)
				}
				defer launch(t, a)()
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
		ca, log := newFakeCA(t), &logtest.Buffer{}
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
		ca, log := newFakeCA(t), &logtest.Buffer{}
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
			ca, log := newFakeCA(t), &logtest.Buffer{}
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
		ca, log := newFakeCA(t), &logtest.Buffer{}
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

func TestWrongClockIsNamedAndCostsNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		ca.life = 30 * time.Minute
		var slow atomic.Int64
		slow.Store(int64(time.Hour))
		cfg := ca.config(log)
		cfg.Now = func() time.Time { return time.Now().Add(-time.Duration(slow.Load())) }
		a, stop := start(t, cfg)
		defer stop()
		synctest.Wait()
		if _, err := a.Current(); !errors.Is(err, ErrNotYetValid) {
			t.Fatalf("Current says %v; want ErrNotYetValid", err)
		}
		if ca, known := a.CATime(); !known || time.Until(ca).Abs() > time.Second {
			t.Errorf("the CA's clock is taken for %v, %v; it is %v", ca, known, time.Now())
		}
		for _, want := range []string{"clock is wrong", "differ", "own_clock=", "ca_clock="} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log lacks %q:\n%s", want, log)
			}
		}
		slow.Store(0) // the clock is corrected
		time.Sleep(time.Second)
		mustCurrent(t, a)
		if n := len(ca.seen("enrol")); n != 1 {
			t.Errorf("%d enrolments; want 1", n)
		}
	})
}

func TestFullDiskKeepsTheCertificateAndSavesItLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
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

// A token for another service makes the agent that service; the old one's policy says nothing about it.
func TestPolicyDoesNotSurviveAChangeOfIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		tokenFile := filepath.Join(t.TempDir(), "token")
		os.WriteFile(tokenFile, []byte(ca.token("first")), 0o600)
		cfg := ca.config(log)
		cfg.Token = TokenFile(tokenFile)
		a, stop := start(t, cfg)
		defer stop()
		synctest.Wait()
		leaf := mustCurrent(t, a).Certificate.Leaf
		ca.do(func() { ca.revoked[leaf.SerialNumber.Text(16)] = true })
		time.Sleep(45 * time.Minute)
		synctest.Wait()
		ca.do(func() { ca.id, ca.noState = ca.pki.ID("other"), true })
		os.WriteFile(tokenFile, []byte(ca.token("second")), 0o600)
		time.Sleep(2 * tokenPoll)
		synctest.Wait()
		snap := mustCurrent(t, a)
		if snap.ID != ca.pki.ID("other") {
			t.Fatalf("the agent is %s", snap.ID)
		}
		if snap.Policy != nil || snap.Revocation != nil {
			t.Error("the old identity's policy is in force")
		}
	})
}
