package feed

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func randomHashes(count int) []uint64 {
	random := rand.New(rand.NewPCG(1, uint64(count)))
	hashes := make([]uint64, count)
	for i := range hashes {
		hashes[i] = random.Uint64()
	}
	return hashes
}

func TestSetHoldsExactlyItsElements(t *testing.T) {
	for name, hashes := range map[string][]uint64{
		"none":     {},
		"zero":     {0},
		"the ends": {0, math.MaxUint64},
		"the last": {math.MaxUint64},
		"twice":    {7, 7, 9, 9, 9},
		"close":    {1 << 63, 1<<63 + 1, 1<<63 + 2},
		"one bucket": slices.Collect(func(yield func(uint64) bool) {
			for i := range uint64(1000) {
				if !yield(1<<60 + i*i) {
					return
				}
			}
		}),
		"17":     randomHashes(17),
		"1000":   randomHashes(1000),
		"100000": randomHashes(100_000),
	} {
		want := slices.Clone(hashes)
		slices.Sort(want)
		set := NewSet(slices.Clone(hashes))
		parsed, err := ParseSet(set.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, s := range []*Set{set, parsed} {
			if got := slices.Collect(s.All()); !slices.Equal(got, want) || s.Len() != len(want) {
				t.Errorf("%s: %d elements, %d wanted", name, s.Len(), len(want))
			}
			for _, hash := range want {
				for _, near := range []uint64{hash - 1, hash, hash + 1} {
					if _, in := slices.BinarySearch(want, near); s.Has(near) != in {
						t.Fatalf("%s: Has(%d) is %v", name, near, !in)
					}
				}
			}
		}
		if !bytes.Equal(parsed.Bytes(), set.Bytes()) {
			t.Errorf("%s: other bytes", name)
		}
	}
}
