package ca_test

import (
	"testing"

	"github.com/handfast/handfast/ca"
)

func TestPlaces(t *testing.T) {
	for _, place := range []uint32{0, 1, 0x0a0b0c0d, 1<<32 - 1} {
		for _, id := range []string{"", "token:t", "12345678", "0000000a token:t"} {
			if got, rest := ca.PlaceOf(ca.Placed(place, id)); got != place || rest != id {
				t.Errorf("%d %q: %d %q", place, id, got, rest)
			}
		}
	}
	for _, id := range []string{"", "token:t", "0000000a", "0000000A x", "000000g0 x", "000000001 x", "0000001 x", " x"} {
		if place, rest := ca.PlaceOf(id); place != 0 || rest != id {
			t.Errorf("%q without a place: %d %q", id, place, rest)
		}
	}
}

// What has a place must be told apart from everything else, or two ids would be one.
func FuzzPlaceOf(f *testing.F) {
	f.Add("token:t")
	f.Add("0000000a token:t")
	f.Fuzz(func(t *testing.T, id string) {
		if place, rest := ca.PlaceOf(id); rest != id && ca.Placed(place, rest) != id {
			t.Errorf("%q: %d %q", id, place, rest)
		}
	})
}
