package fleet

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &memory{})
		var members []*Member
		for n := range byte(4) {
			m, _ := w.join(n, 1)
			members = append(members, m)
		}
		members[3].Leave()
		time.Sleep(time.Minute)
		w.Note(2, time.Now())
		w.sequence = 2
		time.Sleep(10 * time.Millisecond)
		members[0].Ack(2)
		w.join(4, 2) // came to be after the revocation: it has nothing to wait for
		time.Sleep(20 * time.Millisecond)
		members[1].Ack(2)
		members[1].Ack(2)
		p := w.Progress(2)
		if !p.Known || p.Agents != 5 || p.Enforcing != 3 || p.Connected != 4 || p.Measured != 2 {
			t.Errorf("progress = %+v", p)
		}
		if p.Median != 20*time.Millisecond || p.Slowest != 30*time.Millisecond || p.SlowestBy.Service != "service-1" {
			t.Errorf("median %v, slowest %v by %v; want 20 ms, 30 ms by service-1", p.Median, p.Slowest, p.SlowestBy)
		}
		if len(p.Pending) != 1 || p.Pending[0].Service != "service-2" || len(p.Silent) != 1 || p.Silent[0].Service != "service-3" {
			t.Errorf("pending %v, silent %v", p.Pending, p.Silent)
		}
		if since := time.Since(p.Silent[0].Since); since != time.Minute+30*time.Millisecond {
			t.Errorf("silent since %v", since)
		}
		// Who was silent comes back with a later number: that covers this one, too.
		w.Note(3, time.Now())
		w.sequence = 3
		time.Sleep(10 * time.Millisecond)
		members[2].Ack(3)
		w.join(3, 3)
		if p := w.Progress(2); p.Enforcing != 5 || p.Measured != 4 || p.Slowest != 40*time.Millisecond {
			t.Errorf("progress = %+v", p)
		}
		if p := w.Progress(3); p.Enforcing != 2 || p.Measured != 2 || p.Median != 10*time.Millisecond {
			t.Errorf("progress of 3 = %+v", p)
		}
		// One that has lost what it knew is no longer counted, and not measured twice.
		again, _ := w.join(0, 0)
		if p := w.Progress(2); p.Enforcing != 4 {
			t.Errorf("an agent that starts anew still counts: %+v", p)
		}
		again.Ack(2)
		if p := w.Progress(2); p.Enforcing != 5 || p.Measured != 4 {
			t.Errorf("measured twice: %+v", p)
		}
	})
}

func TestWhatIsRevokedOrExpiredCountsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &memory{})
		revoked, _ := w.join(0, 1)
		expired, _ := w.join(1, 1, func(j *Joining) { j.NotAfter = time.Now().Add(time.Minute) })
		w.join(2, 1)
		w.Note(2, time.Now())
		w.refused[serial(0)] = true
		revoked.Leave()
		expired.Leave()
		time.Sleep(2 * time.Minute)
		if p := w.Progress(2); p.Agents != 1 || len(p.Pending) != 1 || len(p.Silent) != 0 {
			t.Errorf("progress = %+v", p)
		}
	})
}

func TestRoundsAreBounded(t *testing.T) {
	w := newWorld(t, &memory{})
	m, _ := w.join(0, 0)
	order := []uint64{3, 1, 2} // concurrent revocations may be noted out of order
	for _, sequence := range order {
		w.Note(sequence, time.Now())
	}
	for sequence := uint64(4); sequence <= maxRounds+10; sequence++ {
		w.Note(sequence, time.Now())
		w.Note(sequence, time.Now().Add(time.Hour)) // repeated: changes nothing
	}
	m.Ack(maxRounds + 10)
	if !slices.IsSortedFunc(w.rounds, func(a, b *round) int { return int(a.sequence) - int(b.sequence) }) || len(w.rounds) != maxRounds {
		t.Errorf("%d rounds, want the last %d in order", len(w.rounds), maxRounds)
	}
	if p := w.Progress(5); p.Known || p.Enforcing != 1 {
		t.Errorf("progress of one that is too long ago = %+v", p)
	}
	if p := w.Progress(maxRounds + 10); !p.Known || p.Measured != 1 {
		t.Errorf("progress of the last = %+v", p)
	}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &memory{})
		a, _ := w.join(0, 1)
		b, _ := w.join(1, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan time.Duration, 1)
		began := time.Now()
		go func() {
			w.Await(ctx, 2)
			done <- time.Since(began)
		}()
		time.Sleep(time.Second)
		a.Ack(2)
		time.Sleep(time.Second)
		b.Leave() // silent ones are not waited for
		if took := <-done; took < 2*time.Second || took > 2*time.Second+2*waitPause {
			t.Errorf("waited %v, want until the last connected agent was there", took)
		}
		w.join(2, 0)
		began = time.Now()
		w.Await(ctx, 2)
		if ctx.Err() == nil {
			t.Error("it did not wait for one that lags")
		}
		if len(w.waiters) != 0 {
			t.Errorf("%d waiters are left", len(w.waiters))
		}
	})
}

// Of thousands who are not there yet the first are named, and all are counted.
func TestProgressNamesSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &memory{})
		const agents = Named + 20
		for n := range byte(agents) {
			w.join(n, 1)
		}
		w.Note(2, time.Now())
		p := w.Progress(2)
		if len(p.Pending) != Named || p.PendingTotal != agents || p.SilentTotal != 0 || !slices.IsSortedFunc(p.Pending, byName) {
			t.Errorf("%d named of %d, %d silent", len(p.Pending), p.PendingTotal, p.SilentTotal)
		}
	})
}
