// Package costtest measures what hostile input costs, for tests that bound it.
package costtest

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// threadUsage is RUSAGE_THREAD of Linux, which package syscall does not name.
const threadUsage = 1

// Measure returns the processor time that do takes on its own goroutine. Unlike the time by the clock it does
// not grow while the machine is busy with something else, so that a bound of it holds there, too.
func Measure(t testing.TB, do func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := used(t)
	do()
	return used(t) - before
}

func used(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(threadUsage, &usage); err != nil {
		t.Fatalf("the processor time of a thread: %v", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
