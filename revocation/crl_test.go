package revocation

import (
	"context"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// fetched is a CRL as a relying party reads it.
type fetched struct {
	*x509.RevocationList
	base    *big.Int // of a delta CRL
	reasons map[string]int
}

// fetch reads the CRL at a path, checks its signature and that no serial is there twice.
func (b *bench) fetch(t testing.TB, path string) fetched {
	t.Helper()
	return readCRL(t, b.Publisher, path, b.ca.cert)
}

func readCRL(t testing.TB, p *Publisher, path string, issuer *x509.Certificate) fetched {
	t.Helper()
	d := p.document(path)
	if d == nil {
		t.Fatalf("nothing at %s", path)
	}
	list, err := x509.ParseRevocationList(d.export().DER())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	f := fetched{RevocationList: list, reasons: make(map[string]int)}
	for _, e := range list.RevokedCertificateEntries {
		serial, err := certs.SerialFromInt(e.SerialNumber)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := f.reasons[serial.String()]; twice {
			t.Fatalf("%s lists %s twice", path, serial)
		}
		f.reasons[serial.String()] = e.ReasonCode
	}
	if len(f.reasons) != d.entries {
		t.Fatalf("%s has %d entries, its document says %d", path, len(f.reasons), d.entries)
	}
	for _, e := range list.Extensions {
		if e.Id.String() == "2.5.29.27" {
			f.base = readInteger(t, e.Value)
		}
	}
	return f
}

func TestRevocationIsPublished(t *testing.T) {
	b := newBench(t, nil)
	path := fullPath(b.ca.ID())
	first := b.fetch(t, path)
	if len(first.reasons) != 0 || first.Number.Uint64() != 1 {
		t.Fatalf("first CRL: number %v, %v", first.Number, first.reasons)
	}
	b.clock.advance(10 * time.Second)
	changed := b.Changed()
	one, two := serialOfInt(t, 1), serialOfInt(t, 2)
	sequence := b.revoke(t, one, certs.KeyCompromise)
	b.revoke(t, two, certs.Unspecified)
	select {
	case <-changed:
	default:
		t.Error("Changed is not closed by a publication")
	}
	list := b.fetch(t, path)
	if list.Number.Uint64() != sequence+1 || list.reasons[one.String()] != 1 || len(list.reasons) != 2 {
		t.Errorf("CRL number %v after revocations %d and %d: %v", list.Number, sequence, sequence+1, list.reasons)
	}
	if !list.ThisUpdate.Equal(b.clock.Now()) || !list.NextUpdate.Equal(b.clock.Now().Add(24*time.Hour)) {
		t.Errorf("CRL from %v to %v at %v", list.ThisUpdate, list.NextUpdate, b.clock.Now())
	}
	entry, ok := b.Revoked(b.ca.ID(), one)
	if !ok || entry.Sequence != sequence || entry.Reason != certs.KeyCompromise || !entry.At.Equal(b.clock.Now()) || entry.Serial != one {
		t.Errorf("Revoked returns %+v, %v", entry, ok)
	}
	if _, ok := b.Revoked("ab", one); ok {
		t.Error("a serial is revoked under an issuer that does not exist")
	}
	if crl, ok := b.CRL(b.ca.ID()); !ok || crl.Entries != 2 || crl.Number.Cmp(list.Number) != 0 {
		t.Errorf("CRL returns %+v", crl)
	}
}

// A certificate is listed until one CRL was published past its expiry, and then no longer;
// OCSP and Revoked know it longer.
func TestExpiredCertificatesAreDropped(t *testing.T) {
	b := newBench(t, nil)
	path, serial := fullPath(b.ca.ID()), serialOfInt(t, 1)
	b.revoke(t, serial, certs.Superseded) // expires in one hour
	pastExpiry := 0
	for tick := 1; tick <= 6; tick++ {
		b.clock.advance(time.Hour)
		b.republish(t, true)
		list := b.fetch(t, path)
		_, listed := list.reasons[serial.String()]
		if listed && list.ThisUpdate.After(testStart.Add(time.Hour)) {
			pastExpiry++
		}
		if tick == 6 && listed {
			t.Error("still listed after six hours")
		}
	}
	if pastExpiry == 0 {
		t.Error("never listed past its expiry (RFC 5280, section 3.3)")
	}
	if _, ok := b.Revoked(b.ca.ID(), serial); !ok {
		t.Error("forgotten with the CRL")
	}
}

// A clock that ran ahead for some publications and was set right must not lose what has not expired.
func TestClockAheadDropsNothingForGood(t *testing.T) {
	b := newBench(t, nil)
	serial := serialOfInt(t, 1)
	b.revoke(t, serial, certs.KeyCompromise)
	for range 4 {
		b.clock.advance(100 * 24 * time.Hour)
		b.republish(t, true)
		b.clock.advance(-100 * 24 * time.Hour)
	}
	b.republish(t, true)
	if _, listed := b.fetch(t, fullPath(b.ca.ID())).reasons[serial.String()]; !listed {
		t.Error("not listed after the clock was set right")
	}
}

// A delta CRL and any full CRL since its base give the newest full CRL; what expired since is removed.
func TestDeltaCompletesEveryFullCRLSinceItsBase(t *testing.T) {
	b := newBench(t, nil)
	path := fullPath(b.ca.ID())
	var history []fetched
	removals := 0
	for step := range int64(60) {
		b.clock.advance(7 * time.Minute)
		if step%5 == 0 {
			b.republish(t, b.byID[b.ca.ID()].due(b.clock.Now(), time.Hour))
		} else {
			b.revoke(t, serialOfInt(t, step), certs.Reason(step%5))
		}
		full, delta := b.fetch(t, path), b.fetch(t, deltaOf(path))
		if full.Number.Cmp(delta.Number) != 0 {
			t.Fatalf("full CRL %v beside delta CRL %v", full.Number, delta.Number)
		}
		history = append(history, full)
		for _, old := range history {
			if old.Number.Cmp(delta.base) < 0 {
				continue
			}
			combined := combine(old.reasons, delta.reasons)
			if !sameReasons(combined, full.reasons) {
				t.Fatalf("step %d: CRL %v and delta %v since %v give %d serials, the full CRL has %d", step, old.Number, delta.Number, delta.base, len(combined), len(full.reasons))
			}
		}
		for serial, reason := range delta.reasons {
			if reason == int(certs.RemoveFromCRL) {
				removals++
				if _, listed := full.reasons[serial]; listed {
					t.Fatalf("delta removes %s, which the full CRL lists", serial)
				}
			}
		}
		for serial, reason := range full.reasons {
			if reason == int(certs.RemoveFromCRL) {
				t.Fatalf("removeFromCRL for %s in a full CRL", serial)
			}
		}
	}
	if removals == 0 {
		t.Error("no certificate expired: the test shows less than it says")
	}
}

func combine(full, delta map[string]int) map[string]int {
	combined := make(map[string]int)
	for serial, reason := range full {
		combined[serial] = reason
	}
	for serial, reason := range delta {
		if combined[serial] = reason; reason == int(certs.RemoveFromCRL) {
			delete(combined, serial)
		}
	}
	return combined
}

func sameReasons(a, b map[string]int) bool {
	if len(a) != len(b) {
		return false
	}
	for serial, reason := range a {
		if other, ok := b[serial]; !ok || other != reason {
			return false
		}
	}
	return true
}

// After a restart numbers go on from the log, and what was revoked stays revoked.
func TestRestart(t *testing.T) {
	b := newBench(t, nil)
	path := fullPath(b.ca.ID())
	for n := range int64(20) {
		b.revoke(t, serialOfInt(t, n), certs.KeyCompromise)
	}
	last := b.fetch(t, path)
	for range 3 {
		b.Publisher = b.open(t, nil)
		list := b.fetch(t, path)
		if list.Number.Cmp(last.Number) <= 0 {
			t.Fatalf("CRL number %v after a restart, %v before", list.Number, last.Number)
		}
		if !sameReasons(list.reasons, last.reasons) {
			t.Fatalf("%d certificates listed after a restart, %d before", len(list.reasons), len(last.reasons))
		}
		last = list
	}
}

// Wherever a signer fails, each CRL is as it was or the next one, and the next publication
// makes up for the rest; nothing is published twice with one number.
func TestFailedPublicationIsMadeUpFor(t *testing.T) {
	for failAfter := range 10 {
		b := newBench(t, nil)
		flaky := &flakySigner{testCA: b.ca}
		b.Publisher = b.open(t, func(c *Config) { c.Issuers, c.Shards = []CRLSigner{flaky}, 4 })
		a := b.byID[b.ca.ID()]
		for n := range int64(8) {
			b.log.revoke(t, b.ca.ID(), serialOfInt(t, n), certs.KeyCompromise, b.clock.Now(), b.clock.Now().Add(time.Hour))
		}
		flaky.left, flaky.limited = failAfter, true
		if err := b.publish(context.Background(), a, false); !errors.Is(err, errNoKey) {
			t.Fatalf("publication with a key that failed: %v", err)
		}
		if !a.pending() {
			t.Fatal("not pending after a failure")
		}
		shown := make(map[string]*document)
		for path, slot := range b.routes {
			shown[path] = slot.newest.Load()
		}
		flaky.limited = false
		b.republish(t, false)
		full := b.fetch(t, fullPath(b.ca.ID()))
		if union := b.union(t, 4); len(full.reasons) != 8 || !sameReasons(full.reasons, union) {
			t.Errorf("full CRL has %d serials, its shards %d", len(full.reasons), len(union))
		}
		for path, slot := range b.routes {
			if before, after := shown[path], slot.newest.Load(); before != after && before.number == after.number {
				t.Errorf("%s: two CRLs with number %d", path, after.number)
			}
		}
	}
}

// union reads every shard and its delta; a serial in the wrong one or in two is an error.
func (b *bench) union(t testing.TB, shards int) map[string]int {
	t.Helper()
	union := make(map[string]int)
	for n := range shards {
		list := b.fetch(t, shardPath(b.ca.ID(), shards, n))
		for text, reason := range list.reasons {
			serial, err := certs.ParseSerial(text)
			if err != nil {
				t.Fatal(err)
			}
			if ShardOf(serial, shards) != n {
				t.Fatalf("shard %d lists %s, which belongs to %d", n, serial, ShardOf(serial, shards))
			}
			union[text] = reason
		}
	}
	return union
}
