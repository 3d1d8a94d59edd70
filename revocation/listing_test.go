package revocation

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// listing collects what Listed says.
func listing(p *Publisher) (map[string]time.Time, uint64) {
	listed := make(map[string]time.Time)
	upTo := p.Listed(func(issuer string, serial []byte, notAfter time.Time) bool {
		listed[fmt.Sprintf("%s %x", issuer, serial)] = notAfter
		return true
	})
	return listed, upTo
}

// Over random orders of revoking, holding and releasing, of two issuers that are
// configured and one that is not, Listed says what the log comes to, at its number.
func TestListedFollowsTheLog(t *testing.T) {
	b := newBench(t, nil)
	second := newTestCA(t, "Second", testStart)
	p := b.open(t, func(c *Config) { c.Issuers = append(c.Issuers, second) })
	random := rand.New(rand.NewPCG(3, 4))
	reasons := []certs.Reason{certs.KeyCompromise, certs.CertificateHold, certs.RemoveFromCRL, certs.Superseded}
	issuers := []string{b.ca.ID(), second.ID(), "0102030405060708090a0b0c0d0e0f1011121314"}
	want, final := map[string]time.Time{}, map[string]bool{}
	for round := range 200 {
		serial, issuer := serialOfInt(t, random.Int64N(20)), issuers[random.IntN(len(issuers))]
		reason, notAfter := reasons[random.IntN(len(reasons))], testStart.Add(time.Hour)
		last := b.log.revoke(t, issuer, serial, reason, testStart, notAfter)
		switch key := fmt.Sprintf("%s %x", issuer, serial.Bytes()); {
		case final[key]:
		case reason == certs.RemoveFromCRL:
			delete(want, key)
		default:
			want[key], final[key] = notAfter, reason != certs.CertificateHold
		}
		if round%7 != 0 {
			continue
		}
		if err := p.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		got, upTo := listing(p)
		if !maps.Equal(got, want) || upTo != last {
			t.Fatalf("after %d entries: %v up to %d\nwant %v", last, got, upTo, want)
		}
	}
}

func TestListedEndsWhenToldTo(t *testing.T) {
	b := newBench(t, nil)
	for n := range int64(3) {
		b.revoke(t, serialOfInt(t, n), certs.KeyCompromise)
	}
	calls := 0
	b.Listed(func(string, []byte, time.Time) bool { calls++; return false })
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

// What the log says of an issuer that is not configured, such as the root of its
// intermediate, counts beside the CRL that was made elsewhere.
func TestRevokedKnowsTheLogOfEveryIssuer(t *testing.T) {
	b := newBench(t, nil)
	intermediate, other := serialOfInt(t, 1), serialOfInt(t, 2)
	if _, revoked := b.Revoked(b.ca.top.ID(), intermediate); revoked {
		t.Fatal("revoked before it was")
	}
	b.log.revoke(t, b.ca.top.ID(), intermediate, certs.CACompromise, testStart, testStart.Add(time.Hour))
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	entry, revoked := b.Revoked(b.ca.top.ID(), intermediate)
	if !revoked || entry.Reason != certs.CACompromise || entry.Issuer != b.ca.top.ID() {
		t.Errorf("%+v, %v", entry, revoked)
	}
	if _, revoked := b.Revoked(b.ca.top.ID(), other); revoked {
		t.Error("another serial of the same issuer is revoked")
	}
	if _, revoked := b.Revoked(b.ca.ID(), intermediate); revoked {
		t.Error("the same serial of another issuer is revoked")
	}
}

func TestFoldedTellsOfCertificatesOnly(t *testing.T) {
	b := newBench(t, nil)
	folded := b.Folded()
	b.republish(t, true)
	select {
	case <-folded:
		t.Fatal("a publication is no news about a certificate")
	default:
	}
	b.log.revoke(t, b.ca.ID(), serialOfInt(t, 1), certs.CertificateHold, testStart, testStart.Add(time.Hour))
	if err := b.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-folded:
	default:
		t.Fatal("not told")
	}
}
