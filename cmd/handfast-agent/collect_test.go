package main

import "testing"

// An operator's own GOGC is not spoiled by a ballast.
func TestBallast(t *testing.T) {
	for _, test := range []struct {
		chosen bool
		size   int
	}{{false, ballastSize}, {true, 0}} {
		env := environment{lookup: func(name string) (string, bool) { return "150", test.chosen && name == "GOGC" }}
		if got := len(env.ballast()); got != test.size {
			t.Errorf("GOGC chosen %v: a ballast of %d bytes; want %d", test.chosen, got, test.size)
		}
	}
}
