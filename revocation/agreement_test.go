package revocation

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	reference "golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
)

// Invariant 14, over random histories: the full CRL is the union of its shards, whatever
// their number; a full CRL and its delta are the full CRL; OCSP and Revoked say the same;
// and a serial that was never issued is never good.
func TestCRLsAndOCSPAgree(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { agreement(t, rand.New(rand.NewPCG(seed, 14))) })
	}
}

func agreement(t *testing.T, random *rand.Rand) {
	b := newBench(t, func(c *Config) { c.Shards, c.FormerShards = 8, []int{3} })
	truth := make(map[string]int) // every revocation
	var issued []certs.Serial
	old := b.fetch(t, fullPath(b.ca.ID()))
	for range 40 {
		b.clock.advance(time.Duration(random.IntN(900)) * time.Second)
		for range random.IntN(6) {
			serial := serialOfInt(t, random.Int64N(1<<40))
			b.log.issue(b.ca.ID(), serial)
			issued = append(issued, serial)
			if random.IntN(2) == 0 {
				reason := []certs.Reason{certs.Unspecified, certs.KeyCompromise, certs.CertificateHold, certs.PrivilegeWithdrawn}[random.IntN(4)]
				b.log.revoke(t, b.ca.ID(), serial, reason, b.clock.Now(), b.clock.Now().Add(time.Duration(random.IntN(7200))*time.Second))
				truth[serial.String()] = int(reason)
			}
		}
		b.republish(t, random.IntN(4) == 0)
		if random.IntN(10) == 0 {
			responder := b.responder.byID[b.ca.ID()].delegate.Load().signer
			b.Publisher = b.open(t, func(c *Config) { c.Shards, c.FormerShards = 8, []int{3} })
			b.SetResponder(b.ca.ID(), responder)
		}
	}
	full := b.fetch(t, fullPath(b.ca.ID()))
	for _, shards := range []int{8, 3} {
		if union := b.union(t, shards); !sameReasons(union, full.reasons) {
			t.Errorf("%d shards list %d serials, the full CRL %d", shards, len(union), len(full.reasons))
		}
	}
	delta := b.fetch(t, deltaOf(fullPath(b.ca.ID())))
	if old.Number.Cmp(delta.base) >= 0 && !sameReasons(combine(old.reasons, delta.reasons), full.reasons) {
		t.Errorf("CRL %v and delta since %v are not CRL %v", old.Number, delta.base, full.Number)
	}
	for serial, reason := range full.reasons {
		if want, revoked := truth[serial]; !revoked || want != reason {
			t.Errorf("CRL lists %s for %d, truth is %d, %v", serial, reason, want, revoked)
		}
	}
	for _, serial := range issued {
		reason, revoked := truth[serial.String()]
		want := reference.Good
		if revoked {
			want = reference.Revoked
		}
		if got := b.status(t, serial); got.Status != want || got.RevocationReason != reason {
			t.Errorf("OCSP says %d for %d about %s, truth is %d for %d", got.Status, got.RevocationReason, serial, want, reason)
		}
		if _, got := b.Revoked(b.ca.ID(), serial); got != revoked {
			t.Errorf("Revoked says %v about %s", got, serial)
		}
	}
	for range 50 {
		if got := b.status(t, serialOfInt(t, 1<<41+random.Int64N(1<<40))); got.Status != reference.Unknown {
			t.Errorf("a serial that was never issued has status %d", got.Status)
		}
	}
}

// witness is a reader that remembers every CRL it ever saw.
type witness struct {
	mu   sync.Mutex
	seen map[string][]byte // path and number to TBSCertList
}

// look checks that a publisher's number at a path did not fall, and that no two
// publishers used a number for different contents.
func (w *witness) look(p *Publisher, path string, last *uint64) error {
	d := p.document(path)
	list, err := x509.ParseRevocationList(d.export().DER())
	if err != nil {
		return err
	}
	if d.number < *last {
		return fmt.Errorf("%s fell from %d to %d", path, *last, d.number)
	}
	*last = d.number
	w.mu.Lock()
	defer w.mu.Unlock()
	key := fmt.Sprint(path, " ", d.number)
	if before, ok := w.seen[key]; ok && !bytes.Equal(before, list.RawTBSRevocationList) {
		return fmt.Errorf("%s: two different lists", key)
	}
	w.seen[key] = list.RawTBSRevocationList
	return nil
}

// Invariant 13: three publishers on one log, publishing at random while certificates are
// revoked, held and released, and publishers restart. Numbers only rise, and a number is never used for two
// different lists (RFC 5280, section 5.2.3).
func TestConcurrentPublishersNeverShareANumber(t *testing.T) {
	b := newBench(t, nil)
	adjust := func(c *Config) { c.Shards = 2 }
	w := &witness{seen: make(map[string][]byte)}
	paths := []string{fullPath(b.ca.ID()), deltaOf(fullPath(b.ca.ID())), shardPath(b.ca.ID(), 2, 0), deltaOf(shardPath(b.ca.ID(), 2, 1))}
	failures := make(chan error, 3)
	for replica := range uint64(3) {
		go func() {
			failures <- func() error {
				random := rand.New(rand.NewPCG(replica, 13))
				last := make([]uint64, len(paths))
				p := b.open(t, adjust)
				for n := range int64(120) {
					switch random.IntN(6) {
					case 0:
						// Mostly little, so that replicas see one revocation at different times.
						b.clock.advance([]time.Duration{time.Second, 7 * time.Second, 20 * time.Second, 15 * time.Minute}[random.IntN(4)])
					case 1:
						if random.IntN(5) == 0 {
							p = b.open(t, adjust)
						}
					case 2, 3:
						serial, reason := serialOfInt(t, int64(replica)<<32+n), certs.KeyCompromise
						if random.IntN(2) == 0 { // of what others hold and release, too
							serial, reason = serialOfInt(t, random.Int64N(30)), []certs.Reason{certs.CertificateHold, certs.RemoveFromCRL}[random.IntN(2)]
						}
						b.log.revoke(t, b.ca.ID(), serial, reason, b.clock.Now(), b.clock.Now().Add(time.Hour))
					}
					if err := p.publish(context.Background(), p.byID[b.ca.ID()], random.IntN(8) == 0); err != nil {
						return err
					}
					for i, path := range paths {
						if err := w.look(p, path, &last[i]); err != nil {
							return err
						}
					}
				}
				return nil
			}()
		}()
	}
	for range 3 {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	if len(w.seen) < 200 {
		t.Errorf("only %d lists were seen: the test shows less than it says", len(w.seen))
	}
}

// The time of a CRL that takes over a revocation's number is the revocation's, not the
// publisher's: two replicas that look at different moments make the same list.
func TestReplicasMakeTheSameList(t *testing.T) {
	b := newBench(t, nil)
	other := b.open(t, nil)
	if err := b.publish(context.Background(), b.byID[b.ca.ID()], true); err != nil { // both know the same ticks
		t.Fatal(err)
	}
	if err := other.publish(context.Background(), other.byID[b.ca.ID()], true); err != nil {
		t.Fatal(err)
	}
	sequence := b.revoke(t, serialOfInt(t, 1), certs.KeyCompromise)
	b.clock.advance(9 * time.Second)
	if err := other.publish(context.Background(), other.byID[b.ca.ID()], false); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fullPath(b.ca.ID()), deltaOf(fullPath(b.ca.ID()))} {
		ours, theirs := b.fetch(t, path), readCRL(t, other, path, b.ca.cert)
		if ours.Number.Uint64() != sequence || !bytes.Equal(ours.RawTBSRevocationList, theirs.RawTBSRevocationList) {
			t.Errorf("%s: number %v from %v, and %v from %v", path, ours.Number, ours.ThisUpdate, theirs.Number, theirs.ThisUpdate)
		}
	}
}
