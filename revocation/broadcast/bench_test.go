package broadcast

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/revocation"
)

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// What one revocation costs for 10,000 agents that wait, without the network: the processor's
// time for each, and the memory of a cursor and the goroutine that waits in it.
func BenchmarkRevocationForTenThousand(b *testing.B) {
	const followers = 10_000
	w := newWorld(b, nil)
	w.revoke(0)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(b.Context())
	var ended, told sync.WaitGroup
	told.Add(followers)
	for range followers {
		ended.Go(func() {
			for cursor := w.Follow(1); ; {
				if _, err := cursor.Next(ctx); err != nil {
					return
				}
				if cursor.Position() >= uint64(len(w.entries)) {
					told.Done()
				}
			}
		})
	}
	told.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	began := cpu(b)
	b.ResetTimer()
	for n := range b.N {
		told.Add(followers)
		w.revoke(1 + n)
		told.Wait()
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu(b)-began)/float64(b.N)/followers, "cpu-ns/agent")
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/followers, "B/agent")
	cancel()
	ended.Wait()
}

// What a snapshot of a million revoked certificates costs: once for all who need it.
func BenchmarkSnapshotOfAMillion(b *testing.B) {
	serial := append([]byte{0x40}, make([]byte, 15)...)
	w := newWorld(b, func(c *Config) {
		c.Listed = func(yield func(string, []byte, time.Time) bool) uint64 {
			end := time.Now().Add(time.Hour)
			for n := range uint64(1_000_000) {
				binary.BigEndian.PutUint64(serial[8:], n*0x9e3779b97f4a7c15)
				if !yield(issuerA, serial, end) {
					break
				}
			}
			return 1
		}
	})
	w.append(revocation.Published, issuerA, 0)
	<-w.begun
	b.ReportAllocs()
	b.ResetTimer()
	began := cpu(b)
	var size int
	for range b.N {
		p := &packet{done: make(chan struct{})}
		if err := w.fillSnapshot(p); err != nil {
			b.Fatal(err)
		}
		size = len(p.bytes)
	}
	b.ReportMetric(float64(cpu(b)-began)/float64(b.N)/1e6, "cpu-ms/op")
	b.ReportMetric(float64(size)/1e6, "B/certificate")
}

// One signed statement with one entry.
func BenchmarkStatement(b *testing.B) {
	w := newWorld(b, nil)
	w.revoke(0)
	<-w.begun
	r := w.current.Load()
	s := feed.Statement{From: 0, To: 1, Entries: []feed.Entry{entryOf(w.entries[0])}}
	for b.Loop() {
		if err := r.pack(&packet{}, s); err != nil {
			b.Fatal(err)
		}
	}
}
