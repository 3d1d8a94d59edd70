package feed

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

func BenchmarkSet(b *testing.B) {
	for _, count := range []int{1_000_000, 5_000_000} {
		hashes := randomHashes(count)
		set := NewSet(append([]uint64(nil), hashes...))
		size := fmt.Sprintf("%dM", count/1_000_000)
		b.Run("Build/"+size, func(b *testing.B) {
			input := make([]uint64, count)
			for b.Loop() {
				b.StopTimer()
				copy(input, hashes)
				b.StartTimer()
				NewSet(input)
			}
		})
		b.Run("Parse/"+size, func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			parsed, err := ParseSet(set.Bytes())
			if err != nil {
				b.Fatal(err)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			runtime.KeepAlive(parsed)
			for b.Loop() {
				if _, err := ParseSet(set.Bytes()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(count), "heap-B/elem")
			b.ReportMetric(float64(len(set.Bytes()))/float64(count), "wire-B/elem")
		})
		b.Run("Has/"+size, func(b *testing.B) {
			random := rand.New(rand.NewPCG(8, 9))
			for b.Loop() {
				set.Has(random.Uint64())
			}
		})
	}
}

func BenchmarkFind(b *testing.B) {
	v := apply(b, nil, snapshot(1, 0, 1, 2, 3))
	v.set = NewSet(randomHashes(1_000_000))
	v = fillBench(b, v, maxOverlay-100)
	one := serial(77)
	b.ReportAllocs()
	for b.Loop() {
		v.Find(issuerA, one)
	}
}

func fillBench(b *testing.B, v *View, count int) *View {
	b.Helper()
	for i := range count / 64 {
		var entries []Entry
		from := v.Sequence()
		for n := range uint64(64) {
			entries = append(entries, entry(from+n+1, Revoked, 5_000+from+n))
		}
		v = apply(b, v, statement(from, from+64, i/16, entries...))
	}
	return v
}

// One revocation after the other, foldings included.
func BenchmarkApply(b *testing.B) {
	for _, count := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("set=%d", count), func(b *testing.B) {
			v := apply(b, nil, snapshot(1, 0))
			v.set = NewSet(randomHashes(count))
			b.ReportAllocs()
			for b.Loop() {
				at := v.Sequence()
				v = apply(b, v, statement(at, at+1, 0, entry(at+1, Revoked, at)))
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	by := newTestSigner(b)
	signed := by.sign(b, statement(5, 6, 0, entry(6, Revoked, 1)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(signed, by.find); err != nil {
			b.Fatal(err)
		}
	}
}
