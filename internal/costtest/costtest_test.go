package costtest_test

import (
	"testing"
	"time"

	"github.com/handfast/handfast/internal/costtest"
)

func TestOnlyWorkCounts(t *testing.T) {
	if slept := costtest.Measure(t, func() { time.Sleep(300 * time.Millisecond) }); slept > 200*time.Millisecond {
		t.Errorf("a sleep of 300 ms took %v", slept)
	}
	sum, worked := 0, time.Duration(0)
	for worked == 0 { // the system may count in steps of some milliseconds
		worked += costtest.Measure(t, func() {
			for range 1_000_000 {
				sum++
			}
		})
	}
	t.Logf("counting to %d took %v", sum, worked)
}
