package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsGivenBackAfterAWave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := 0
		tidy := &tidier{free: func() { freed++ }}
		come := func(n int, want int) {
			t.Helper()
			for range n {
				tidy.entered()
				time.Sleep(tidyAfter / 2) // they keep coming
			}
			if freed != want {
				t.Fatalf("freed %d times while connections came; want %d", freed, want)
			}
			time.Sleep(2 * tidyAfter)
			synctest.Wait()
		}
		come(tidyWorth-1, 0)
		if freed != 0 {
			t.Fatal("freed for a few")
		}
		for wave := range 2 { // what came before counts, and then anew
			come(tidyWorth, wave)
			if freed != wave+1 {
				t.Fatalf("freed %d times after wave %d", freed, wave+1)
			}
		}
	})
}
