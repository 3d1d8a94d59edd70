package agent

import (
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

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
				ca, log := newFakeCA(t), &logtest.Buffer{}
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

func TestRootsRotateWithOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		cfg := ca.config(log)
		cfg.StateDir = filepath.Join(t.TempDir(), "state")
		a, stop := start(t, cfg)
		synctest.Wait()
		serial := mustCurrent(t, a).Certificate.Leaf.SerialNumber
		next := newFakeCA(t).pki.Root
		ca.do(func() { ca.roots = append(ca.roots, next.Raw) })
		time.Sleep(spreadChanges)
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
		ca, log := newFakeCA(t), &logtest.Buffer{}
		a, stop := start(t, ca.config(log))
		defer stop()
		synctest.Wait()
		gateway, batch := ca.pki.ID("gateway"), ca.pki.ID("batch")
		if mustCurrent(t, a).Policy.Allows(gateway) != nil || mustCurrent(t, a).Policy.Allows(batch) == nil {
			t.Fatal("not the CA's policy")
		}
		ca.do(func() { ca.callers = []string{batch.String()} })
		time.Sleep(spreadChanges) // the feed has said so at once
		synctest.Wait()
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
		ca, log := newFakeCA(t), &logtest.Buffer{}
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
		time.Sleep(spreadChanges)
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

// What comes after a verified handshake must fit it: the root that the token pinned is among the roots.
func TestFirstAnswerMustHoldThePinnedRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		cfg := ca.config(log)
		cfg.Token = TokenString(newFakeCA(t).token("of another CA"))
		a, stop := start(t, cfg)
		defer stop()
		synctest.Wait()
		if _, err := a.Current(); !errors.Is(err, ErrNotEnrolled) {
			t.Fatalf("Current says %v; want ErrNotEnrolled", err)
		}
		if !strings.Contains(log.String(), "the pinned root is not among its roots") {
			t.Errorf("the log does not say so:\n%s", log)
		}
	})
}
