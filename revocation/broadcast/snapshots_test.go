package broadcast

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/revocation"
)

// fill appends revocations without telling of them.
func (w *world) fill(from, to int) {
	for n := from; n < to; n++ {
		w.append(revocation.Revoked, issuerA, n)
	}
}

// Where a follower stands decides what leads it on: memory, the log, or a snapshot.
func TestResumesFromMemoryThenLogThenSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Recent, c.catchUp = 16, 64 })
		w.fill(0, 100)
		w.restart(t, func(c *Config) { c.Recent, c.catchUp = 16, 64 })
		synctest.Wait()
		for _, c := range []struct {
			since    uint64
			reads    int
			snapshot bool
		}{{99, 0, false}, {84, 0, false}, {83, 1, false}, {36, 1, false}, {35, 0, true}, {1, 0, true}, {0, 0, true}} {
			before := w.count(&w.reads)
			cursor := w.Follow(c.since)
			messages, err := cursor.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s := lastStatement(t, messages)
			if (s.Snapshot != nil) != c.snapshot || s.To != 100 || s.From > c.since || cursor.Position() != 100 {
				t.Errorf("since %d: from %d to %d, snapshot %v", c.since, s.From, s.To, s.Snapshot != nil)
			}
			if reads := w.count(&w.reads) - before; reads != c.reads {
				t.Errorf("since %d: the log was read %d times", c.since, reads)
			}
		}
	})
}

// Many who need a snapshot at once share one, and what makes it fresh follows at once.
func TestASnapshotIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.fill(0, 500)
		w.Notify()
		time.Sleep(time.Second) // beyond the pace: the first statement may have been made of less
		synctest.Wait()
		listings, signatures := w.count(&w.listings), w.key.signatures()
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				h, cursor := newHolder(), w.Follow(0)
				if s := h.follow(t, cursor); s.Snapshot == nil {
					t.Error("no snapshot")
				}
				if err := h.differs(w.ledger); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if made := w.count(&w.listings) - listings; made != 1 {
			t.Errorf("%d listings", made)
		}
		if made := w.key.signatures() - signatures; made != 1 {
			t.Errorf("%d signatures", made)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		h, cursor := newHolder(), w.Follow(0)
		h.follow(t, cursor)
		began := time.Now()
		if s := h.follow(t, cursor); time.Since(began) != 0 || time.Since(s.SignedAt) > 5*time.Second {
			t.Errorf("after %v: signed %v ago", time.Since(began), time.Since(s.SignedAt))
		}
		if made := w.count(&w.listings) - listings; made != 1 {
			t.Errorf("%d listings after 20 minutes", made)
		}
	})
}

// A snapshot that is no longer new is handed out while the next one is made.
func TestSnapshotsAreReplaced(t *testing.T) {
	for name, age := range map[string]func(*world){
		"much was added": func(w *world) { w.fill(10, 20); w.Notify() },
		"an hour passed": func(*world) { time.Sleep(snapshotAge + time.Minute) },
		"another signer": func(w *world) { w.SetSigner(w.key, w.chain) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(c *Config) { c.Recent = 16 })
				w.fill(0, 10)
				w.Notify()
				synctest.Wait()
				newHolder().follow(t, w.Follow(0))
				first := w.snapshots.newest
				time.Sleep(time.Second)
				age(w)
				synctest.Wait()
				h, cursor := newHolder(), w.Follow(0)
				h.follow(t, cursor)
				synctest.Wait()
				if w.snapshots.newest == first {
					t.Error("the old one stays")
				}
				h.follow(t, cursor)
				if err := h.differs(w.ledger); err != nil || h.position() != uint64(len(w.entries)) {
					t.Errorf("at %d: %v", h.position(), err)
				}
			})
		})
	}
}

// A burst beyond what is kept for those who come back is still one statement, from memory, for those who are there.
func TestABurstIsToldFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t, func(c *Config) { c.Recent, c.catchUp = 4, 64 }), newHolder()
		w.revoke(0)
		time.Sleep(time.Second) // beyond the pace: a first statement may have been made without it
		synctest.Wait()
		cursor := w.Follow(0)
		h.follow(t, cursor)
		before := w.count(&w.reads)
		w.fill(1, 30)
		w.Notify()
		if s := h.follow(t, cursor); len(s.Entries) != 29 || w.count(&w.reads) != before+1 {
			t.Errorf("%d entries, %d reads", len(s.Entries), w.count(&w.reads)-before)
		}
	})
}

// What expired long ago is left out.
func TestSnapshotsLeaveExpiredCertificatesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		w := newWorld(t, func(c *Config) {
			c.Listed = func(yield func(string, []byte, time.Time) bool) uint64 {
				for n, notAfter := range []time.Time{now.Add(-2 * time.Hour), now.Add(-time.Minute), now.Add(time.Hour)} {
					if !yield(issuerA, serial(n).Bytes(), notAfter) {
						break
					}
				}
				return 0
			}
		})
		s := newHolder().follow(t, w.Follow(0))
		for n, want := range []bool{false, true, true} {
			if s.Snapshot.Has(feed.Hash(issuerA, serial(n).Bytes())) != want {
				t.Errorf("certificate %d: not %v", n, want)
			}
		}
	})
}

// The publisher may fold an entry before the Broadcaster has read it: nobody is led past the end.
func TestASnapshotIsNeverAheadOfTheFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.fill(0, 3)
		w.Notify()
		synctest.Wait()
		w.fill(3, 6) // nobody is notified
		h, cursor := newHolder(), w.Follow(0)
		if h.follow(t, cursor); h.position() != 6 || w.Sequence() != 6 {
			t.Errorf("the holder stands at %d, the feed at %d", h.position(), w.Sequence())
		}
		h.follow(t, cursor)
	})
}

// More than a statement holds, in one transaction, leads by a snapshot; nothing is left out.
func TestMoreThanAStatementHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t, func(c *Config) { c.Recent, c.catchUp = 8, 16 }), newHolder()
		w.revoke(0)
		cursor := w.Follow(0)
		h.follow(t, cursor)
		for from := 1; from < 10000; from *= 9 { // readBatch lies among them
			w.fill(from, from*9)
			w.Notify()
			synctest.Wait()
			for h.position() < uint64(len(w.entries)) {
				h.follow(t, cursor)
			}
			if err := h.differs(w.ledger); err != nil {
				t.Fatal(err)
			}
			for since := uint64(len(w.entries)); since > 0 && since+30 > uint64(len(w.entries)); since-- {
				messages, err := w.Follow(since).Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if s := lastStatement(t, messages); s.From > since || s.To < since || w.contradicts(s) != nil {
					t.Fatalf("since %d: from %d to %d: %v", since, s.From, s.To, w.contradicts(s))
				}
			}
		}
		if len(w.memory.entries) > 32 {
			t.Errorf("%d entries are held in memory", len(w.memory.entries))
		}
	})
}
