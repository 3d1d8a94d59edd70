package certs

import (
	"bytes"
	"testing"
	"time"
)

// A block that cannot be read is an error wherever it stands: a CRL that is passed over hides revocations.
func TestDamagedPEMBlocksAreNotPassedOver(t *testing.T) {
	w := newWorld(t, time.Now())
	good := pemOf("CERTIFICATE", w.issuer.cert.Raw)
	damaged := bytes.Replace(pemOf("CERTIFICATE", w.root.cert.Raw), []byte("\n"), []byte("\n!"), 2)
	cut := good[:len(good)/2]
	for name, data := range map[string][]byte{
		"damaged first": bytes.Join([][]byte{damaged, good}, nil), "damaged in the middle": bytes.Join([][]byte{good, damaged, good}, nil),
		"damaged last": bytes.Join([][]byte{good, damaged}, nil), "cut off in the middle": bytes.Join([][]byte{good, cut, good}, nil),
		"cut off last": bytes.Join([][]byte{good, cut}, nil),
	} {
		if parsed, err := ParseCertificates(data); err == nil {
			t.Errorf("%s: %d certificates were read", name, len(parsed))
		}
	}
	if parsed, err := ParseCertificates(bytes.Join([][]byte{good, []byte("text\n"), good}, nil)); err != nil || len(parsed) != 2 {
		t.Errorf("sound file: %d, %v", len(parsed), err)
	}
}

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
