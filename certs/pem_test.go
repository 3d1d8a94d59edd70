package certs

import (
	"testing"
	"time"
)

// FuzzParseCertificates: what is read is bounded, and written back it is read as the same.
func FuzzParseCertificates(f *testing.F) {
	w := newWorld(f, time.Now())
	f.Add(pemOf("CERTIFICATE", w.issuer.cert.Raw, w.root.cert.Raw))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add(append([]byte("text\n"), pemOf("CERTIFICATE", w.root.cert.Raw)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := ParseCertificates(data)
		if err != nil {
			return
		}
		if len(parsed) == 0 || len(parsed) > maxPEMCertificates {
			t.Fatalf("%d certificates", len(parsed))
		}
		var ders [][]byte
		for _, cert := range parsed {
			ders = append(ders, cert.Raw)
		}
		again, err := ParseCertificates(pemOf("CERTIFICATE", ders...))
		if err != nil || len(again) != len(parsed) {
			t.Fatalf("written back: %d of %d, %v", len(again), len(parsed), err)
		}
		for i := range parsed {
			if !again[i].Equal(parsed[i]) {
				t.Fatalf("certificate %d differs", i)
			}
		}
	})
}
