package broadcast

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/revocation"
)

// Over random logs, with followers that join, stall, leave and come back at any position, and
// restarts of the CA at any time, every holder has at each of its positions exactly what the
// log comes to.
func TestEveryHolderEndsWithTheFoldOfTheLog(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomLife(t, rand.New(rand.NewPCG(seed, 3))) })
		})
	}
}

func randomLife(t *testing.T, random *rand.Rand) {
	adjust := func(c *Config) { c.Recent, c.catchUp = 1+random.IntN(12), 12+random.IntN(30) }
	w := newWorld(t, adjust)
	type follower struct {
		*holder
		cursor  *Cursor
		checked uint64
	}
	var followers []*follower
	for range 250 {
		switch random.IntN(8) {
		case 0, 1, 2, 3:
			w.randomEntry(random)
			w.Notify()
		case 4: // durable, but the CA does not hear of it
			w.randomEntry(random)
		case 5:
			followers = append(followers, &follower{holder: newHolder(), cursor: w.Follow(0)})
		case 6:
			if random.IntN(6) == 0 {
				w.restart(t, adjust)
				for _, f := range followers {
					f.cursor = w.Follow(f.position())
				}
			}
		case 7:
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
		if random.IntN(3) > 0 {
			synctest.Wait() // else what happens next races with the statement
		}
		for _, f := range followers {
			switch random.IntN(6) {
			case 0, 1:
				f.follow(t, f.cursor)
			case 2:
				f.cursor = w.Follow(f.position())
			}
			if f.position() == f.checked {
				continue
			}
			f.checked = f.position()
			if err := f.differs(w.ledger); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, f := range followers {
		for f.view == nil || f.position() < uint64(len(w.entries)) {
			f.follow(t, f.cursor)
		}
		if err := f.differs(w.ledger); err != nil {
			t.Fatal(err)
		}
	}
}

// randomEntry appends what a ledger could: what is revoked stays so, and only what is held is released.
func (l *ledger) randomEntry(random *rand.Rand) {
	issuer, n := []string{issuerA, issuerB}[random.IntN(2)], random.IntN(30)
	last := revocation.Kind(0)
	for _, e := range l.entries {
		if e.Issuer == issuer && e.Serial == serial(n) {
			last = e.Kind
		}
	}
	kind := []revocation.Kind{revocation.Revoked, revocation.Held, revocation.Held, revocation.Released}[random.IntN(4)]
	switch {
	case random.IntN(8) == 0, last == revocation.Revoked, kind == revocation.Released && last != revocation.Held:
		l.append(revocation.Published, issuer, 0)
	default:
		l.append(kind, issuer, n)
	}
}

func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t, nil), newHolder()
		w.append(revocation.Published, issuerA, 0)
		w.restart(t, nil) // it finds the entry, however soon the first one looked
		cursor := w.Follow(0)
		began := time.Now()
		if s := h.follow(t, cursor); s.Snapshot == nil || time.Since(began) != 0 {
			t.Fatalf("after %v: %+v", time.Since(began), s)
		}
		for n := range 3 {
			s := h.follow(t, cursor)
			if since := time.Since(began); since != time.Duration(n+1)*5*time.Second || s.From != 1 || s.To != 1 || len(s.Entries) != 0 || !s.SignedAt.Equal(time.Now()) {
				t.Errorf("after %v: %+v", since, s)
			}
		}
	})
}

// A publication uses up a number, which holders learn of with the next heartbeat.
func TestPublishedEntriesOnlyMoveThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t, nil), newHolder()
		w.append(revocation.Published, issuerA, 0)
		w.restart(t, nil)
		cursor := w.Follow(0)
		h.follow(t, cursor)
		synctest.Wait()
		w.append(revocation.Published, issuerA, 0)
		began := time.Now()
		w.Notify()
		if s := h.follow(t, cursor); s.From != 1 || s.To != 2 || len(s.Entries) != 0 || time.Since(began) != 5*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), s)
		}
	})
}

// The first revocation is told at once; those that come within the pace behind it share a statement.
func TestBurstsShareAStatementAndTheFirstOneNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t, nil), newHolder()
		cursor := w.Follow(0)
		h.follow(t, cursor)
		time.Sleep(time.Second)
		began := time.Now()
		w.revoke(1)
		if s := h.follow(t, cursor); len(s.Entries) != 1 || time.Since(began) != 0 {
			t.Fatalf("after %v: %d entries", time.Since(began), len(s.Entries))
		}
		for n := range 10 {
			time.Sleep(100 * time.Microsecond)
			w.revoke(2 + n)
		}
		if s := h.follow(t, cursor); len(s.Entries) != 10 || time.Since(began) > pace+pacePerFollower {
			t.Errorf("after %v: %d entries", time.Since(began), len(s.Entries))
		}
	})
}

// One signature serves all who stand at the same place, and all who come with it from near there.
func TestOneSignatureServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.revoke(0)
		synctest.Wait()
		cursors := make([]*Cursor, 100)
		for i := range cursors {
			cursors[i] = w.Follow(1)
			if _, err := cursors[i].Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		before, asked := w.key.signatures(), w.count(&w.asked)
		w.revoke(1)
		var first []byte
		for _, cursor := range cursors {
			messages, err := cursor.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = messages
			}
			if &first[0] != &messages[0] {
				t.Fatal("the octets are not shared")
			}
		}
		if made := w.key.signatures() - before; made != 1 {
			t.Errorf("%d signatures for one revocation", made)
		}
		if read := w.count(&w.asked) - asked; read != 1 {
			t.Errorf("the versions were read %d times", read)
		}
	})
}

// Followers that come back at many positions share statements: no more than one for each power of two.
func TestReturningFollowersShareStatements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for n := range 1000 {
			w.append(revocation.Revoked, issuerA, n)
		}
		w.restart(t, nil) // it finds all of them, whatever came in while it began
		synctest.Wait()
		before := w.key.signatures()
		for since := uint64(1); since <= 1000; since++ {
			if _, err := w.Follow(since).Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if made := w.key.signatures() - before; made > 11 {
			t.Errorf("%d signatures for 1000 positions", made)
		}
	})
}

// A change of a version, and another signer, are told at once, without an entry.
func TestVersionsAndSignersAreNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t, nil), newHolder()
		w.announce("1")
		cursor := w.Follow(0)
		h.follow(t, cursor)
		time.Sleep(time.Second)
		began := time.Now()
		w.announce("2")
		w.Notify()
		if s := h.follow(t, cursor); time.Since(began) != 0 || h.view.Version("policy") != "2" {
			t.Errorf("after %v: %+v", time.Since(began), s.Versions)
		}
		time.Sleep(time.Second)
		began = time.Now()
		w.SetSigner(newTestSigner(t, time.Now().Add(time.Hour).Truncate(time.Second)))
		if h.follow(t, cursor); time.Since(began) != 0 || len(h.signers) != 2 {
			t.Errorf("after %v: %d signers", time.Since(began), len(h.signers))
		}
	})
}

// No statement outlives its signer.
func TestNextUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t, func(c *Config) { c.Validity = time.Hour }), newHolder()
		cursor := w.Follow(0)
		if s := h.follow(t, cursor); !s.NextUpdate.Equal(s.SignedAt.Add(time.Hour)) {
			t.Errorf("%v after %v", s.NextUpdate, s.SignedAt)
		}
		end := time.Now().Add(10 * time.Minute).Truncate(time.Second)
		w.SetSigner(newTestSigner(t, end))
		if s := h.follow(t, cursor); !s.NextUpdate.Equal(end) {
			t.Errorf("%v, but the signer ends at %v", s.NextUpdate, end)
		}
	})
}

// kill -9 between the durable write and the push: whoever comes back gets it at once.
func TestWhatWasDurableButNeverSentArrivesAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, h := newWorld(t, nil), newHolder()
		w.revoke(1)
		h.follow(t, w.Follow(0))
		w.append(revocation.Revoked, issuerA, 2)
		w.restart(t, nil)
		began := time.Now()
		if s := h.follow(t, w.Follow(h.position())); len(s.Entries) != 1 || time.Since(began) != 0 {
			t.Errorf("after %v: %d entries", time.Since(began), len(s.Entries))
		}
		if err := h.differs(w.ledger); err != nil {
			t.Error(err)
		}
	})
}

// Who has seen more than the log holds, from another log, is told so instead of being led astray.
func TestAFollowerFromTheFutureIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.revoke(1)
		if _, err := w.Follow(9).Next(t.Context()); !errors.Is(err, ErrAhead) {
			t.Errorf("%v", err)
		}
		// One whose entry this process learns of a moment later is not.
		h := newHolder()
		h.follow(t, w.Follow(0))
		cursor := w.Follow(2)
		go func() { time.Sleep(time.Second); w.revoke(2) }()
		if _, err := cursor.Next(t.Context()); err != nil || cursor.Position() != 2 {
			t.Errorf("%v at %d", err, cursor.Position())
		}
	})
}
