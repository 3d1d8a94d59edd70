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

func TestSortHashes(t *testing.T) {
	for _, count := range []int{0, 1, 1023, 1024, 1025, 50_000} {
		for name, narrow := range map[string]uint{"even": 0, "all in one bucket": 40, "all the same": 63} {
			hashes := randomHashes(count)
			for i := range hashes {
				hashes[i] >>= narrow
			}
			want := slices.Clone(hashes)
			slices.Sort(want)
			if sortHashes(hashes); !slices.Equal(hashes, want) {
				t.Errorf("%d hashes, %s: not sorted", count, name)
			}
		}
	}
}

// On the wire and in memory an element takes less than eight bytes.
func TestSetIsCompact(t *testing.T) {
	for _, count := range []int{1000, 100_000, 1_000_000} {
		set := NewSet(randomHashes(count))
		wire := float64(len(set.Bytes())) / float64(count)
		memory := float64(cap(set.raw)+4*cap(set.offsets)+8*cap(set.before)) / float64(count)
		t.Logf("%d elements: %.2f bytes each on the wire, %.2f in memory", count, wire, memory)
		if wire >= 8 || memory >= 8 {
			t.Errorf("%d elements: %.2f bytes each on the wire, %.2f in memory", count, wire, memory)
		}
		if count == 1_000_000 && (wire > 5.8 || memory > 6.6) {
			t.Errorf("a million: %.2f bytes each on the wire, %.2f in memory", wire, memory)
		}
	}
}

func TestParseSetRefuses(t *testing.T) {
	sound := NewSet(randomHashes(100)).Bytes()
	changed := func(change func([]byte) []byte) []byte { return change(bytes.Clone(sound)) }
	for name, data := range map[string][]byte{
		"nothing":             nil,
		"half a header":       sound[:setHeader-1],
		"another version":     changed(func(b []byte) []byte { b[0] = 2; return b }),
		"an absurd parameter": changed(func(b []byte) []byte { b[1] = 64; return b }),
		"one more announced":  changed(func(b []byte) []byte { b[5]++; return b }),
		"one less announced":  changed(func(b []byte) []byte { b[5]--; return b }),
		"billions announced":  changed(func(b []byte) []byte { b[2] = 0xff; return b }),
		"cut off":             sound[:len(sound)-1],
		"an octet behind":     append(bytes.Clone(sound), 0),
		"a bit behind":        changed(func(b []byte) []byte { b[len(b)-1] |= 0x80; return b }),
		"over 2^64":           append([]byte{setVersion, 63, 0, 0, 0, 2}, bytes.Repeat([]byte{0xfe}, 17)...),
		"an endless quotient": append([]byte{setVersion, 0, 0, 0, 0, 1}, make([]byte, 100)...),
	} {
		if s, err := ParseSet(data); err == nil {
			t.Errorf("%s: %d elements", name, s.Len())
		}
	}
	if _, err := ParseSet(make([]byte, maxSetSize+1)); err == nil {
		t.Error("over the size")
	}
}

func TestHash(t *testing.T) {
	if Hash("ab", []byte{1, 2}) == Hash("ab01", []byte{2}) || Hash("ab", []byte{1}) == Hash("ac", []byte{1}) {
		t.Error("issuer and serial have to be told apart")
	}
	if got := Hash("ab", []byte{1}); got != 0xf23f32bed68a8223 {
		t.Errorf("%#x: snapshots of other versions would not be understood", got)
	}
	if Hash("no key identifier", []byte{1}) == Hash("", []byte{1}) {
		t.Error("what is no key identifier is hashed as it is")
	}
}

// FuzzParseSet: what is accepted is the same bytes again, its elements rise, and it has exactly those.
func FuzzParseSet(f *testing.F) {
	for _, count := range []int{0, 1, 3, 100} {
		f.Add(NewSet(randomHashes(count)).Bytes())
	}
	f.Add([]byte{setVersion, 0, 0, 0, 0, 3, 0b111})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSet(data)
		if err != nil {
			return
		}
		elements := slices.Collect(s.All())
		if !bytes.Equal(s.Bytes(), data) || len(elements) != s.Len() || !slices.IsSorted(elements) {
			t.Fatalf("%d elements announced, %d found", s.Len(), len(elements))
		}
		for _, hash := range elements {
			if !s.Has(hash) {
				t.Fatalf("%d is lost", hash)
			}
			if _, in := slices.BinarySearch(elements, hash+1); s.Has(hash+1) != in {
				t.Fatalf("%d is not an element", hash+1)
			}
		}
		if again := slices.Collect(NewSet(slices.Clone(elements)).All()); !slices.Equal(again, elements) {
			t.Fatal("a set of the same elements has others")
		}
	})
}
