package sqlite_test

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/storetest"
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

// anIssuance is one by token, as large as a real one.
func anIssuance() ca.Issuance {
	c := storetest.Certificate("shop/cart")
	c.DER = append(c.DER, make([]byte, max(0, 830-len(c.DER)))...)
	id := c.Serial.String()
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
