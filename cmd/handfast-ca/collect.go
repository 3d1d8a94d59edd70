package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/handfast/handfast/internal/ballast"
)

const (
	// ballastSize is counted by the collector as what the daemon keeps. What an idle daemon keeps is some 10 MB, which Go's GOGC=100 would collect at each 10 MB of garbage
	// under load; with the ballast it is each 34.
	ballastSize = 24 << 20

	// A heap that keeps more than largeHeap, for thousands of streams, may grow by quietGrowth percent between two collections
	// instead of Go's usualGrowth, which would double it for garbage that takes minutes to come together. Where garbage
	// comes fast, at more than a busyPart of what is kept in a collectInterval, the usual growth is cheaper: each collection walks
	// through all that is kept. Not so while what is kept grows, by a growingPart in a collectWindow: agents come by the
	// thousand, and the garbage of their handshakes leaves as many gaps between what stays as it was allowed to take room.
	largeHeap       = 48 << 20
	quietGrowth     = 10
	growingGrowth   = 25
	usualGrowth     = 100
	busyPart        = 8
	growingPart     = 16
	collectInterval = 2 * time.Second
	collectWindow   = 3 // intervals
	// wasteful is which part of what is kept may lie free before it is given back to the system, by a collection more: what a
	// wave left, not what quietGrowth leaves all the time.
	wasteful = 8
)

// collectorChosen reports whether an operator has set how memory is collected.
func (env *environment) collectorChosen() bool {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, chosen := env.lookup(name); chosen {
			return true
		}
	}
	return false
}

// ballast must stay reachable for as long as the daemon runs. It is empty where an operator has chosen.
func (env *environment) ballast() []byte {
	if env.collectorChosen() {
		return nil
	}
	return ballast.New(ballastSize)
}

// collect adapts the collector to what the daemon keeps and does, until ctx ends, unless an operator has chosen.
func (env *environment) collect(ctx context.Context) {
	if env.collectorChosen() {
		return
	}
	tick := time.NewTicker(collectInterval)
	defer tick.Stop()
	defer debug.SetGCPercent(debug.SetGCPercent(usualGrowth))
	w, growth := newWatcher(readHeap()), usualGrowth
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		wanted, release := w.tend(readHeap())
		if wanted != growth { // setting it stops the world
			debug.SetGCPercent(wanted)
			growth = wanted
		}
		if release {
			debug.FreeOSMemory() // a collection as well
		}
	}
}

// heap is what the collector says of the heap.
type heap struct {
	live      uint64 // octets that the last collection found in use, the ballast included
	free      uint64 // octets in memory of the process that hold no object
	allocated uint64 // octets so far
}

func readHeap() heap {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(samples)
	return heap{live: samples[0].Value.Uint64(), free: samples[1].Value.Uint64(), allocated: samples[2].Value.Uint64()}
}

// watcher knows how the heap was.
type watcher struct {
	last      heap
	base      uint64 // what was kept when the window began
	intervals int    // of the window that have passed
	grew      bool   // in the window before
}

func newWatcher(now heap) *watcher { return &watcher{last: now, base: now.live} }

// tend decides, after a collectInterval, by how many percent the heap may grow until the next collection, and whether what lies free
// is to be given back at once, which takes a collection.
func (w *watcher) tend(now heap) (growth int, release bool) {
	busy := now.allocated-w.last.allocated > now.live/busyPart
	grows := now.live > w.base+w.base/growingPart
	wave := grows || w.grew
	w.last = now
	if w.intervals++; w.intervals == collectWindow {
		w.base, w.intervals, w.grew = now.live, 0, grows
	}
	switch {
	case now.live < largeHeap:
		return usualGrowth, false
	case wave:
		return growingGrowth, false
	case busy:
		return usualGrowth, false
	default:
		return quietGrowth, now.free > now.live/wasteful
	}
}
