package agent

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

func TestStapleIsRenewedAtHalfAndWithEachCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		responder := newFakeResponder(ca)
		ca.life = 3 * time.Hour
		cfg := ca.config(log)
		cfg.FetchStaple = responder.fetch
		a, stop := start(t, cfg)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		first, leaf := stapleTo(t, ca, a), mustCurrent(t, a).Certificate.Leaf
		if first.DER == nil || responder.count() != 1 {
			t.Fatalf("%d fetches gave %+v; log:\n%s", responder.count(), first, log)
		}
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		if n := responder.count(); n != 1 {
			t.Fatalf("%d fetches before half of the validity", n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		second := stapleTo(t, ca, a)
		if bytes.Equal(second.DER, first.DER) || responder.count() != 2 {
			t.Fatalf("%d fetches after half of the validity", responder.count())
		}
		time.Sleep(95 * time.Minute) // past the rotation
		synctest.Wait()
		if mustCurrent(t, a).Certificate.Leaf.Equal(leaf) {
			t.Fatal("no rotation, so this test shows nothing")
		}
		if stapleTo(t, ca, a).DER == nil {
			t.Error("no staple with the new certificate")
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := responder.count(); n < 48 || n > 70 || stapleTo(t, ca, a).DER == nil {
			t.Errorf("%d fetches in a day of staples of an hour and certificates of three", n)
		}
	})
}

// The last good staple is used until its end, never after; then handshakes go on without one.
func TestStapleOutlastsAnOutageUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		responder, registry := newFakeResponder(ca), prometheus.NewRegistry()
		ca.life = 30 * time.Hour
		cfg := ca.config(log)
		cfg.FetchStaple, cfg.Registerer = responder.fetch, registry
		a, stop := start(t, cfg)
		defer stop()
		time.Sleep(time.Second)
		responder.do(func() { responder.fail = errors.New("no route to host") })
		time.Sleep(58 * time.Minute)
		synctest.Wait()
		before := responder.count()
		if stapleTo(t, ca, a).DER == nil || before < 5 {
			t.Errorf("after 58 minutes of an hour: %d fetches, staple %t", before, stapleTo(t, ca, a).DER != nil)
		}
		if status := a.Status().Staple; !status.Stapled || status.Problem == "" || status.Demanded {
			t.Errorf("%+v", status)
		}
		changed := a.Changed()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if mustCurrent(t, a).Certificate.OCSPStaple != nil {
			t.Error("the staple is still there after its end")
		}
		select {
		case <-changed:
		default:
			t.Error("nobody was told that the staple is gone")
		}
		if err := a.Ready(); err != nil {
			t.Errorf("without a staple that nobody demands: %v", err)
		}
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if n := responder.count() - before; n < 100 || n > 400 {
			t.Errorf("%d fetches in ten hours of outage", n)
		}
		responder.do(func() { responder.fail = nil })
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if stapleTo(t, ca, a).DER == nil {
			t.Error("no staple after the outage")
		}
		if n := fetched(t, registry, fetchNoAnswer); n < 100 {
			t.Errorf("%v failures are counted", n)
		}
		if !strings.Contains(log.String(), "no route to host") {
			t.Error("the log does not name the cause")
		}
	})
}

// A certificate that demands a staple is not shown without: at the start the agent is not ready, and
// at a rotation the predecessor goes on for as long as it can.
func TestDemandedStaple(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		responder := newFakeResponder(ca)
		ca.pki.MustStaple, ca.life = true, time.Hour
		away := func() { responder.fail = errors.New("no route to host") }
		responder.do(away)
		cfg := ca.config(log)
		cfg.FetchStaple = responder.fetch
		a, stop := start(t, cfg)
		defer stop()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "no route to host") || shakeable(a) {
			t.Fatalf("without the staple that is demanded: %v", err)
		}
		responder.do(func() { responder.fail = nil })
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if err := a.Ready(); err != nil || !shakeable(a) || !a.Status().Staple.Demanded {
			t.Fatalf("with the staple: %v", err)
		}
		first := mustCurrent(t, a).Certificate.Leaf
		responder.do(func() { responder.life = 50 * time.Minute })
		time.Sleep(35 * time.Minute) // renews the staple
		responder.do(away)
		time.Sleep(10 * time.Minute) // rotates
		synctest.Wait()
		if len(ca.seen("renew")) == 0 {
			t.Fatal("no rotation, so this test shows nothing")
		}
		if own := mustCurrent(t, a).Certificate; !own.Leaf.Equal(first) || stapleTo(t, ca, a).DER == nil || !shakeable(a) || a.Ready() != nil {
			t.Errorf("the predecessor does not go on: %v", a.Ready())
		}
		responder.do(func() { responder.fail = nil })
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if own := mustCurrent(t, a).Certificate; own.Leaf.Equal(first) || stapleTo(t, ca, a).DER == nil || a.Ready() != nil {
			t.Errorf("the new certificate is not in use after its staple came: %v", a.Ready())
		}
		responder.do(away)
		time.Sleep(55 * time.Minute)
		synctest.Wait()
		if shakeable(a) || a.Ready() == nil {
			t.Error("ready with neither a valid staple nor a predecessor that has one")
		}
	})
}

// A response that says that the own certificate is revoked ends the older one that does not.
func TestRevokedAnswerEndsTheStaple(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		responder := newFakeResponder(ca)
		ca.life = 10 * time.Hour
		cfg := ca.config(log)
		registry := prometheus.NewRegistry()
		cfg.FetchStaple, cfg.Registerer = responder.fetch, registry
		a, stop := start(t, cfg)
		defer stop()
		time.Sleep(time.Second)
		for _, status := range []int{ocsp.Revoked, ocsp.Good, ocsp.Unknown} {
			responder.do(func() { responder.status = status })
			time.Sleep(35 * time.Minute)
			synctest.Wait()
			if got, want := stapleTo(t, ca, a).DER != nil, status != ocsp.Revoked; got != want {
				t.Errorf("status %d: staple %t", status, got)
			}
		}
		for _, result := range []string{fetchRevoked, fetchInvalid, fetchOK} {
			if fetched(t, registry, result) == 0 {
				t.Errorf("no fetch is counted as %s", result)
			}
		}
	})
}

// A responder that never answers delays neither start nor rotation nor the end.
func TestHangingResponderDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		responder := newFakeResponder(ca)
		responder.hang = true
		cfg := ca.config(log)
		cfg.FetchStaple = responder.fetch
		a, stop := start(t, cfg)
		synctest.Wait()
		if err := a.Ready(); err != nil || !shakeable(a) {
			t.Errorf("at once after the start: %v", err)
		}
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if n := len(ca.seen("renew")); n < 10 || a.Ready() != nil {
			t.Errorf("%d renewals in ten hours of a certificate of an hour: %v", n, a.Ready())
		}
		began := time.Now()
		stop()
		if took := time.Since(began); took > 0 {
			t.Errorf("the end took %s", took)
		}
	})
}

// The staple survives a restart while the responder is away, and only with its certificate.
func TestStapleSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, log := newFakeCA(t), &logtest.Buffer{}
		responder := newFakeResponder(ca)
		ca.pki.MustStaple = true
		cfg := ca.config(log)
		cfg.FetchStaple, cfg.StateDir = responder.fetch, filepath.Join(t.TempDir(), "state")
		a, stop := start(t, cfg)
		time.Sleep(time.Second)
		synctest.Wait()
		before := stapleTo(t, ca, a)
		stop()
		responder.do(func() { responder.fail = errors.New("no route to host") })
		again, stop := start(t, cfg)
		synctest.Wait()
		if got := stapleTo(t, ca, again); before.DER == nil || !bytes.Equal(got.DER, before.DER) || again.Ready() != nil {
			t.Errorf("after the restart: %t, %v", got.DER != nil, again.Ready())
		}
		stop()
		flip(t, filepath.Join(cfg.StateDir, stapleFile))
		spoilt, stop := start(t, cfg)
		defer stop()
		synctest.Wait()
		if mustCurrent(t, spoilt).Certificate.OCSPStaple != nil || spoilt.Ready() == nil {
			t.Error("a damaged staple is used")
		}
	})
}

func TestStapleDue(t *testing.T) {
	at := func(minutes float64) time.Time {
		return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(minutes * float64(time.Minute)))
	}
	staple := certs.Staple{ThisUpdate: at(0), NextUpdate: at(60)}
	for _, test := range []struct{ now, jitter, want float64 }{
		{0, 0.5, 30}, {0, 0, 27}, {0, 1, 33}, // half, and a twentieth to either side
		{20, 0, 27.5},                // less when it is near
		{30, 0.5, 37.5}, {40, 0, 45}, // an older one, from a cache: a quarter of the rest
		{59, 0.5, 59.25}, {59.9, 0.5, 59.9 + 1.0/6}, // but not faster than every ten seconds
	} {
		if got := stapleDue(staple, at(test.now), test.jitter); got.Sub(at(test.want)).Abs() > time.Second {
			t.Errorf("at %v, jitter %v: due at %s, want %s", test.now, test.jitter, got, at(test.want))
		}
	}
}
