package broadcast

import (
	"testing"
	"testing/synctest"
	"time"
)

// One wait serves many cursors: each has something to say after Changed, and nothing more once it has said it.
func TestOneWaitServesManyCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.Attend(3)
		w.Attend(-1)
		if n := w.waiting.Load(); n != 2 {
			t.Errorf("%d followers are counted", n)
		}
		<-w.Changed() // the first statement
		cursors, holders := []*Cursor{w.Follow(0), w.Follow(0)}, []*holder{newHolder(), newHolder()}
		tell := func() {
			t.Helper()
			for i, c := range cursors {
				if !c.Behind() {
					t.Error("a cursor has nothing to say after a change")
				}
				began := time.Now()
				for c.Behind() {
					holders[i].follow(t, c)
				}
				if waited := time.Since(began); waited != 0 {
					t.Errorf("it waited %v", waited)
				}
			}
		}
		tell()
		changed := w.Changed()
		select {
		case <-changed:
			t.Error("changed without news")
		default:
		}
		sequence := w.revoke(1)
		<-changed
		tell()
		for _, h := range holders {
			if h.position() != sequence {
				t.Errorf("it stands at %d, want %d", h.position(), sequence)
			}
		}
	})
}
