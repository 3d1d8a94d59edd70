package main

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/store/sqlite"
	"github.com/handfast/handfast/certs"
)

// aCertificate is of the service web, with i in its serial.
func aCertificate(t *testing.T, i byte) ca.Certificate {
	t.Helper()
	serial, err := certs.SerialFromBytes(append(bytes.Repeat([]byte{0x41}, certs.MaxSerialOctets-1), i))
	if err != nil {
		t.Fatal(err)
	}
	td, err := certs.ParseTrustDomain(trustDomain)
	if err != nil {
		t.Fatal(err)
	}
	id, err := td.ID(service)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	return ca.Certificate{
		Serial: serial, Kind: ca.KindService, Name: service, ID: id, Issuer: "0a0b", Profile: "default", Method: ca.MethodToken,
		By: "token", NotBefore: now, NotAfter: now.Add(time.Hour), IssuedAt: now, DER: bytes.Repeat([]byte{i}, 700),
	}
}

// TestAgeMakesTheOldestPurgeable keeps age's SQL in step with the ledger's schema.
func TestAgeMakesTheOldestPurgeable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range byte(3) {
		c := aCertificate(t, i)
		id := ca.Placed(uint32(i), c.Serial.String())
		if _, _, err := store.RecordIssuance(t.Context(), ca.Issuance{
			Certificate: c, OneTime: &ca.OneTime{ID: id, ExpiresAt: c.NotAfter}, Idempotency: &ca.Idempotency{Key: id, ExpiresAt: c.NotAfter},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := age(t.Context(), path, 2); err != nil {
		t.Fatal(err)
	}
	if store, err = sqlite.Open(t.Context(), path, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // the test is over
	if n, err := store.Purge(t.Context(), time.Now().Add(-24*time.Hour), 100); err != nil || n != 2*3 {
		t.Errorf("%d rows could be purged, %v; want two certificates with their ids and keys", n, err)
	}
}

func TestMetric(t *testing.T) {
	text := []byte("# TYPE a counter\na_total{x=\"1\"} 5\na_total 1.2e+06\nab_total 7\n")
	for name, want := range map[string]float64{"a_total": 1.2e6, "ab_total": 7} {
		if got, err := metric(text, name); err != nil || got != want {
			t.Errorf("metric(%s) = %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := metric(text, "b_total"); err == nil {
		t.Error("a metric that is not there has a value")
	}
}
