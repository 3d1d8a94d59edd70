package proxy

import (
	"runtime/debug"
	"sync"
	"time"
)

const (
	// tidyAfter is how long no connection must have come for.
	tidyAfter = time.Second
	// tidyWorth is how many must have come before: each leaves some tens of kilobytes of its handshake behind.
	tidyWorth = 64
)

// tidier gives memory back when a wave of connections has come in and is over. The runtime would keep what
// their handshakes needed for minutes, about as much again as what the connections need
// while they wait; an agent stands beside every service and mostly waits.
type tidier struct {
	free func() // debug.FreeOSMemory; some milliseconds of processor time

	mu    sync.Mutex
	came  int
	timer *time.Timer
}

func newTidier() *tidier { return &tidier{free: debug.FreeOSMemory} }

// entered counts a connection.
func (t *tidier) entered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.came++
	switch {
	case t.came < tidyWorth:
	case t.timer == nil:
		t.timer = time.AfterFunc(tidyAfter, t.tidy)
	default:
		t.timer.Reset(tidyAfter)
	}
}

func (t *tidier) tidy() {
	t.mu.Lock()
	t.came = 0
	t.mu.Unlock()
	t.free()
}
