package main

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
)

const mb = 1 << 20

func TestTend(t *testing.T) {
	type step struct {
		live, free, allocated uint64 // MB; allocated since the last step
		growth                int
		release               bool
	}
	still := func(live uint64, growth int) step { return step{live, 0, 0, growth, false} }
	for name, steps := range map[string][]step{
		"small":                        {{30, 60, 900, usualGrowth, false}, {30, 60, 0, usualGrowth, false}},
		"large and quiet":              {{200, 25, 20, quietGrowth, false}},
		"large while much is issued":   {{200, 200, 30, usualGrowth, false}, {200, 200, 20, quietGrowth, true}},
		"large with much that is free": {{200, 40, 0, quietGrowth, true}},
		// Agents come for some seconds; what their handshakes left is given back when no more have come for a window.
		"a wave": {
			{220, 90, 300, growingGrowth, false}, {240, 90, 300, growingGrowth, false}, {250, 90, 20, growingGrowth, false}, // the window ends
			{250, 90, 0, growingGrowth, false}, still(250, growingGrowth), still(250, growingGrowth),
			{250, 90, 0, quietGrowth, true}, still(250, quietGrowth),
		},
		"it shrinks": {still(60, quietGrowth), still(40, usualGrowth)},
	} {
		now := heap{live: 200 * mb}
		w := newWatcher(now)
		for i, s := range steps {
			now = heap{live: s.live * mb, free: s.free * mb, allocated: now.allocated + s.allocated*mb}
			if growth, release := w.tend(now); growth != s.growth || release != s.release {
				t.Errorf("%s, step %d: %d, %v; want %d, %v", name, i, growth, release, s.growth, s.release)
			}
		}
	}
	runtime.GC() // it says nothing before the first one
	if now := readHeap(); now.live == 0 || now.allocated == 0 {
		t.Errorf("the collector says %+v", now)
	}
}

// What an operator has chosen stays.
func TestCollectorIsTheOperators(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "HOME"} {
		env := &environment{lookup: func(asked string) (string, bool) { return "100", asked == name }}
		chosen := name != "HOME"
		if got := env.ballast() == nil; got != chosen {
			t.Errorf("%s: no ballast is %v", name, got)
		}
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); env.collect(ctx) }()
			synctest.Wait()
			select {
			case <-ended:
				if !chosen {
					t.Errorf("%s ends it", name)
				}
			default:
				if chosen {
					t.Errorf("%s does not end it", name)
				}
			}
			cancel()
			<-ended
		})
	}
}
