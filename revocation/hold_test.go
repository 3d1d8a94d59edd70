package revocation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	reference "golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
)

// standing is the naive model: what a serial's entries come to.
type standing struct {
	reason   certs.Reason
	listed   bool
	final    bool
	notAfter time.Time
}

// change appends an entry, whether it makes sense or not, and applies it to the model.
func (b *bench) change(t testing.TB, model map[string]*standing, serial certs.Serial, reason certs.Reason, lifetime time.Duration) {
	t.Helper()
	s := model[serial.String()]
	if s == nil {
		s = &standing{notAfter: b.clock.Now().Add(lifetime).Truncate(time.Second)}
		model[serial.String()] = s
	}
	b.log.revoke(t, b.ca.ID(), serial, reason, b.clock.Now(), s.notAfter)
	switch {
	case s.final:
	case reason == certs.RemoveFromCRL:
		s.listed = false
	default:
		s.reason, s.listed, s.final = reason, true, reason != certs.CertificateHold
	}
}

// listedNow are the model's refused certificates that have not expired; those that have
// may still stand in a CRL.
func listedNow(model map[string]*standing, now time.Time) map[string]int {
	listed := make(map[string]int)
	for serial, s := range model {
		if s.listed && s.notAfter.After(now) {
			listed[serial] = int(s.reason)
		}
	}
	return listed
}

// Invariant 14 with holds: over random orders of revoking, holding, releasing, publishing
// and restarting, the full CRL, every full CRL since the delta's base with the delta, the
// shards, OCSP and Revoked all say what the naive model says.
func TestHoldsAgreeWithANaiveModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { heldAgreement(t, rand.New(rand.NewPCG(seed, 6))) })
	}
}

func heldAgreement(t *testing.T, random *rand.Rand) {
	adjust := func(c *Config) { c.Shards, c.FormerShards, c.Retention = 5, []int{2}, time.Hour }
	b := newBench(t, adjust)
	model := make(map[string]*standing)
	var published []fetched
	removals := 0
	for step := range 120 {
		b.clock.advance(time.Duration(random.IntN(600)) * time.Second)
		for range random.IntN(4) {
			serial := serialOfInt(t, random.Int64N(25)+int64(step/40)*1000)
			reason := []certs.Reason{certs.CertificateHold, certs.RemoveFromCRL, certs.CertificateHold, certs.RemoveFromCRL, certs.KeyCompromise}[random.IntN(5)]
			b.change(t, model, serial, reason, time.Duration(1+random.IntN(8))*time.Hour)
		}
		if random.IntN(12) == 0 {
			responder := b.responder.byID[b.ca.ID()].delegate.Load().signer
			b.Publisher = b.open(t, adjust)
			b.SetResponder(b.ca.ID(), responder)
		} else {
			b.republish(t, random.IntN(6) == 0)
		}
		published = append(published, b.fetch(t, fullPath(b.ca.ID())))
		removals += b.checkLists(t, model, published)
		if step%10 == 0 {
			b.checkAnswers(t, model)
		}
	}
	if removals == 0 {
		t.Error("nothing was ever removed: the test shows less than it says")
	}
}

// checkLists compares every list that is published now, and returns how many entries the delta removes.
func (b *bench) checkLists(t *testing.T, model map[string]*standing, published []fetched) (removals int) {
	t.Helper()
	full := published[len(published)-1]
	delta := b.fetch(t, deltaOf(fullPath(b.ca.ID())))
	for serial, reason := range full.reasons {
		if s := model[serial]; !s.listed || int(s.reason) != reason {
			t.Fatalf("the full CRL lists %s for %d, the model says %+v", serial, reason, s)
		}
	}
	for serial, reason := range listedNow(model, b.clock.Now()) {
		if got, listed := full.reasons[serial]; !listed || got != reason {
			t.Fatalf("the full CRL has %d, %v for %s; the model %d", got, listed, serial, reason)
		}
	}
	for _, shards := range []int{5, 2} {
		if !sameReasons(b.union(t, shards), full.reasons) {
			t.Fatalf("%d shards differ from the full CRL", shards)
		}
	}
	for _, old := range published {
		if old.Number.Cmp(delta.base) >= 0 && !sameReasons(combine(old.reasons, delta.reasons), full.reasons) {
			t.Fatalf("CRL %v and delta %v since %v are not the full CRL", old.Number, delta.Number, delta.base)
		}
	}
	for serial, reason := range delta.reasons {
		if reason == int(certs.RemoveFromCRL) {
			removals++
			if _, listed := full.reasons[serial]; listed {
				t.Fatalf("the delta removes %s, which the full CRL lists", serial)
			}
		}
	}
	return removals
}

func (b *bench) checkAnswers(t *testing.T, model map[string]*standing) {
	t.Helper()
	for text, s := range model {
		serial, err := certs.ParseSerial(text)
		if err != nil {
			t.Fatal(err)
		}
		// After its retention a certificate is forgotten; what is said then is not this test's.
		if b.clock.Now().After(s.notAfter) {
			continue
		}
		entry, refused := b.Revoked(b.ca.ID(), serial)
		if refused != s.listed || refused && (entry.Reason != s.reason || entry.Kind != KindOf(s.reason)) {
			t.Fatalf("Revoked says %+v, %v of %s; the model %+v", entry, refused, serial, s)
		}
		got := b.status(t, serial)
		if wantRevoked := got.Status == reference.Revoked; wantRevoked != s.listed || s.listed && got.RevocationReason != int(s.reason) {
			t.Fatalf("OCSP says %d for %d of %s; the model %+v", got.Status, got.RevocationReason, serial, s)
		}
	}
}

// Each order of hold, release and revocation around the delta CRL's base. A hold and its
// release that both came after the base are removed too: a full CRL in between listed it
// (RFC 5280, section 5.2.4).
func TestDeltaOfHoldsInEveryOrder(t *testing.T) {
	const hold, release, revoke, base = certs.CertificateHold, certs.RemoveFromCRL, certs.Superseded, certs.Reason(-1)
	const absent = -1
	for name, test := range map[string]struct {
		events      []certs.Reason
		full, delta int
	}{
		"hold before the base":                          {[]certs.Reason{hold, base}, 6, absent},
		"hold after the base":                           {[]certs.Reason{base, hold}, 6, 6},
		"hold before, release after":                    {[]certs.Reason{hold, base, release}, absent, 8},
		"hold and release after":                        {[]certs.Reason{base, hold, release}, absent, 8},
		"hold and release before":                       {[]certs.Reason{hold, release, base}, absent, absent},
		"hold, release, revoke after":                   {[]certs.Reason{base, hold, release, revoke}, 4, 4},
		"hold before, release and revoke after":         {[]certs.Reason{hold, base, release, revoke}, 4, 4},
		"hold and release before, revoke after":         {[]certs.Reason{hold, release, base, revoke}, 4, 4},
		"hold before, revoke after":                     {[]certs.Reason{hold, base, revoke}, 4, 4},
		"hold and revoke before":                        {[]certs.Reason{hold, revoke, base}, 4, absent},
		"hold before, release and hold again after":     {[]certs.Reason{hold, base, release, hold}, 6, 6},
		"released before, held and released after":      {[]certs.Reason{hold, release, base, hold, release}, absent, 8},
		"revoked stays: hold and release after it":      {[]certs.Reason{revoke, base, hold, release}, 4, absent},
		"a release of what was never held says nothing": {[]certs.Reason{base, release}, absent, absent},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Shards = 3 })
			serial := serialOfInt(t, 7)
			for _, event := range test.events {
				b.clock.advance(time.Minute)
				if event == base { // two ticks out of the window: the second is what deltas start from
					for range 2 {
						b.clock.advance(3 * time.Hour)
						b.republish(t, true)
					}
					continue
				}
				b.log.revoke(t, b.ca.ID(), serial, event, b.clock.Now(), testStart.Add(1000*time.Hour))
				b.republish(t, false)
			}
			b.clock.advance(time.Hour)
			b.republish(t, true)
			for _, path := range []string{fullPath(b.ca.ID()), shardPath(b.ca.ID(), 3, ShardOf(serial, 3))} {
				for path, want := range map[string]int{path: test.full, deltaOf(path): test.delta} {
					got, listed := b.fetch(t, path).reasons[serial.String()]
					if listed != (want != absent) || listed && got != want {
						t.Errorf("%s: %d, %v; want %d", path, got, listed, want)
					}
				}
			}
		})
	}
}

// Hold and release show in OCSP when Sync returns, past the cache in both directions. A
// good answer from before a hold does not come back, even if nobody asked meanwhile.
func TestOCSPFollowsHolds(t *testing.T) {
	b := newBench(t, nil)
	serial := serialOfInt(t, 1)
	b.log.issue(b.ca.ID(), serial)
	for round, test := range []struct {
		reason certs.Reason
		asked  bool
		want   int
	}{
		{certs.Unspecified, true, reference.Good}, // nothing happens
		{certs.CertificateHold, false, reference.Revoked},
		{certs.RemoveFromCRL, true, reference.Good},
		{certs.CertificateHold, true, reference.Revoked},
		{certs.RemoveFromCRL, true, reference.Good},
		{certs.CertificateHold, false, reference.Revoked},
		{certs.RemoveFromCRL, true, reference.Good},
	} {
		b.clock.advance(time.Second)
		if round > 0 {
			b.log.revoke(t, b.ca.ID(), serial, test.reason, b.clock.Now(), b.clock.Now().Add(time.Hour))
			if err := b.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second one out of the cache
			if !test.asked {
				break
			}
			got := b.status(t, serial)
			if got.Status != test.want || test.want == reference.Revoked && got.RevocationReason != int(test.reason) {
				t.Errorf("round %d: status %d for %d, want %d", round, got.Status, got.RevocationReason, test.want)
			}
			if !got.ThisUpdate.Equal(b.clock.Now()) {
				t.Errorf("round %d: an answer of %v came back", round, got.ThisUpdate)
			}
		}
	}
}

// A release is published as soon as a revocation is.
func TestReleaseIsPending(t *testing.T) {
	b := newBench(t, nil)
	serial := serialOfInt(t, 1)
	b.revoke(t, serial, certs.CertificateHold)
	b.log.revoke(t, b.ca.ID(), serial, certs.RemoveFromCRL, b.clock.Now(), b.clock.Now().Add(time.Hour))
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(b.wakeAhead) != 1 || !b.byID[b.ca.ID()].pending() {
		t.Error("a release does not wake the publisher")
	}
}
