package sqlite_test

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/ca/store/storetest"
	"github.com/handfast/handfast/certs"
)

// BenchmarkRecordIssuance64 is durable issuances by 64 concurrent clients.
func BenchmarkRecordIssuance64(b *testing.B) { benchmark(b, 64) }

// BenchmarkRecordIssuance1 is one client: each issuance has a commit of its own.
func BenchmarkRecordIssuance1(b *testing.B) { benchmark(b, 1) }

func benchmark(b *testing.B, clients int) {
	store := fresh(b)
	work := make(chan ca.Issuance, clients)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for issuance := range work {
				if _, _, err := store.RecordIssuance(b.Context(), issuance); err != nil {
					b.Error(err)
				}
			}
		})
	}
	prepared := make([]ca.Issuance, 10_000) // what they cost to make is not measured
	for i := range prepared {
		prepared[i] = anIssuance()
	}
	before := processorTime(b)
	for b.Loop() {
		issuance := anIssuance()
		if len(prepared) > 0 {
			issuance, prepared = prepared[0], prepared[1:]
		}
		work <- issuance
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "issuances/s")
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// anIssuance is one by token, as large as a real one, and with a serial and ids that begin with
// the time as real ones do.
func anIssuance() ca.Issuance {
	c := storetest.Certificate("shop/cart")
	c.DER = append(c.DER, make([]byte, max(0, 830-len(c.DER)))...)
	now := time.Now()
	octets := c.Serial.Bytes()
	binary.BigEndian.PutUint64(octets, 1<<62|uint64(now.UnixNano())>>2)
	c.Serial, _ = certs.SerialFromBytes(octets) // 20 octets, the first of them 0x40 or more
	id := ca.Placed(uint32(now.Unix()), c.Serial.String())
	return ca.Issuance{
		Certificate: c, OneTime: &ca.OneTime{ID: id, ExpiresAt: c.NotAfter},
		Idempotency: &ca.Idempotency{Key: id, ExpiresAt: c.NotAfter},
	}
}

// processorTime is what the process has used, user and system.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkCertificate is the read of each authenticated request.
func BenchmarkCertificate(b *testing.B) {
	store := fresh(b)
	c := storetest.Certificate("a")
	_, _, err := store.RecordIssuance(b.Context(), ca.Issuance{Certificate: c})
	must(b, err)
	for b.Loop() {
		if _, err := store.Certificate(b.Context(), c.Serial); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPurge compares the latency of issuances at a steady rate while nothing else
// happens with that while expired certificates are purged as the CA does it. It looks at both in
// turns, because the machine has neighbours, and reports the medians.
func BenchmarkPurge(b *testing.B) {
	store := fresh(b)
	for b.Loop() {
		fill(b, store, 100_000)
		var usual, purging, ratios []float64
		for range 5 {
			usual = append(usual, float64(p99Of(b, store, 2*time.Second).Microseconds()))
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				purgeUntil(ctx, b, store)
			}()
			purging = append(purging, float64(p99Of(b, store, 2*time.Second).Microseconds()))
			cancel()
			<-done
			ratios = append(ratios, purging[len(purging)-1]/usual[len(usual)-1])
		}
		b.ReportMetric(median(usual), "p99-us")
		b.ReportMetric(median(purging), "p99-purging-us")
		b.ReportMetric(median(ratios), "ratio")
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func purgeUntil(ctx context.Context, b *testing.B, store *sqlite.Store) {
	for ctx.Err() == nil {
		began := time.Now()
		n, err := store.Purge(b.Context(), time.Now(), purgeBatch)
		if err != nil || n < purgeBatch {
			b.Errorf("the purge ended before the measurement: %d rows, %v: fill in more", n, err)
			return
		}
		time.Sleep(max(purgePause, purgeShare*time.Since(began)))
	}
}

// These are package ca's.
const (
	purgeBatch = 100
	purgePause = 10 * time.Millisecond
	purgeShare = 3
)

// fill records n issuances that have expired.
func fill(b *testing.B, store *sqlite.Store, n int) {
	b.Helper()
	var group errgroup.Group
	group.SetLimit(64)
	for range n {
		group.Go(func() error {
			_, _, err := store.RecordIssuance(b.Context(), anIssuance())
			return err
		})
	}
	must(b, group.Wait())
}

// p99Of issues 500 times a second, alive ones, and returns the 99th percentile of the latency.
func p99Of(b *testing.B, store *sqlite.Store, during time.Duration) time.Duration {
	b.Helper()
	latencies := make([]time.Duration, during/(2*time.Millisecond))
	var group errgroup.Group
	for i := range latencies {
		issuance := anIssuance()
		alive := time.Now().Add(time.Hour)
		issuance.Certificate.NotAfter, issuance.OneTime.ExpiresAt, issuance.Idempotency.ExpiresAt = alive, alive, alive
		group.Go(func() error {
			began := time.Now()
			_, _, err := store.RecordIssuance(b.Context(), issuance)
			latencies[i] = time.Since(began)
			return err
		})
		time.Sleep(2 * time.Millisecond)
	}
	must(b, group.Wait())
	slices.Sort(latencies)
	return latencies[len(latencies)*99/100]
}
