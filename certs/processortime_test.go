package certs

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// processorTime returns what do takes on its own goroutine. Unlike the time by the clock it does not grow
// while the machine is busy with something else, so that a bound of it holds there, too.
func processorTime(t testing.TB, do func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		const thread = 1 // RUSAGE_THREAD of Linux
		var usage syscall.Rusage
		if err := syscall.Getrusage(thread, &usage); err != nil {
			t.Fatalf("the processor time of a thread: %v", err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	before := used()
	do()
	return used() - before
}
