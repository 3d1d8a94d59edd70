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

	// A heap that keeps more than largeHeap, for thousands of streams, may grow by quietGrowth percent between two
	// collections instead of Go's usualGrowth, which would double it for garbage that takes minutes to come together.
	// Where it comes so fast that more than busyCycles collections fall into collectInterval, each of which walks through all
	// that is kept, the usual growth is cheaper.
	largeHeap       = 80 << 20
	quietGrowth     = 25
	usualGrowth     = 100
	busyCycles      = 3
	collectInterval = 10 * time.Second
	// wasteful is which part of what is kept may lie idle before it is given back to the system, by a collection
	// more: what a wave of agents left, not what quietGrowth leaves all the time.
	wasteful = 2
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
	last := readHeap()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := readHeap()
		growth, release := tend(now, now.cycles-last.cycles)
		debug.SetGCPercent(growth)
		if release {
			debug.FreeOSMemory() // a collection as well
			now = readHeap()
		}
		last = now
	}
}

// heap is what the collector says of the heap.
type heap struct {
	live   uint64 // octets that the last collection found in use, the ballast included
	idle   uint64 // octets in memory of the process without an object in them
	cycles uint64 // collections so far
}

func readHeap() heap {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	return heap{live: samples[0].Value.Uint64(), idle: samples[1].Value.Uint64() + samples[2].Value.Uint64(), cycles: samples[3].Value.Uint64()}
}

// tend decides, after so many collections in a collectInterval, by how many percent the heap may grow until the next one, and whether
// what lies idle is to be given back at once, which takes a collection.
func tend(now heap, cycles uint64) (growth int, release bool) {
	if now.live < largeHeap || cycles > busyCycles {
		return usualGrowth, false
	}
	return quietGrowth, now.idle > now.live/wasteful
}
