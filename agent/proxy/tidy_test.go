package proxy

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsGivenBackAfterAWave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times atomic.Int32
		tidy := &tidier{free: func() { times.Add(1) }}
		come := func(n int, want int) {
			t.Helper()
			for range n {
				tidy.entered()
				time.Sleep(tidyAfter / 2) // they keep coming
			}
			if freed := times.Load(); int(freed) != want {
				t.Fatalf("freed %d times while connections came; want %d", freed, want)
			}
			time.Sleep(2 * tidyAfter)
			synctest.Wait()
		}
		come(tidyWorth-1, 0)
		if times.Load() != 0 {
			t.Fatal("freed for a few")
		}
		for wave := range 2 { // what came before counts, and then anew
			come(tidyWorth, wave)
			if freed := times.Load(); int(freed) != wave+1 {
				t.Fatalf("freed %d times after wave %d", freed, wave+1)
			}
		}
	})
}
