package main

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
)

func TestTend(t *testing.T) {
	for name, test := range map[string]struct {
		heap    heap
		cycles  uint64
		growth  int
		release bool
	}{
		"small":                      {heap{live: 30 << 20, idle: 60 << 20}, 0, usualGrowth, false},
		"large and quiet":            {heap{live: 200 << 20, idle: 20 << 20}, 1, quietGrowth, false},
		"large after a wave":         {heap{live: 200 << 20, idle: 200 << 20}, busyCycles, quietGrowth, true},
		"large while much is issued": {heap{live: 200 << 20, idle: 200 << 20}, busyCycles + 1, usualGrowth, false},
	} {
		if growth, release := tend(test.heap, test.cycles); growth != test.growth || release != test.release {
			t.Errorf("%s: %d, %v; want %d, %v", name, growth, release, test.growth, test.release)
		}
	}
	runtime.GC() // it says nothing before the first one
	if now := readHeap(); now.live == 0 || now.idle == 0 || now.cycles == 0 {
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
