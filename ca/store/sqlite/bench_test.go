package sqlite_test

import (
	"sync"
	"testing"

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
	b.ResetTimer()
	for b.Loop() {
		c := storetest.Certificate("shop/cart")
		work <- ca.Issuance{Certificate: c, OneTime: &ca.OneTime{ID: c.Serial.String(), ExpiresAt: c.NotAfter}}
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "issuances/s")
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
