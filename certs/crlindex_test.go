package certs

import (
	"bytes"
	"crypto/x509"
	"math/big"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// What crypto/x509 writes and reads, the index finds, and nothing else.
func TestCRLAgreesWithStandardLibrary(t *testing.T) {
	root := newRoot(t, "root", crlNow)
	for _, size := range []int{0, 1, 2, 3, 5, 8, 100, 1000} {
		random := rand.New(rand.NewPCG(1, uint64(size)))
		der := root.crl(42, nil, func(l *x509.RevocationList) {
			for range size {
				serial := make([]byte, 8+random.IntN(13)) // long enough never to repeat
				for i := range serial {
					serial[i] = byte(random.Uint32())
				}
				serial[0] |= 1
				reason := int(Superseded)
				if random.IntN(2) == 0 {
					reason = 0
				}
				l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{
					SerialNumber: new(big.Int).SetBytes(serial), RevocationTime: crlNow, ReasonCode: reason,
				})
			}
		})
		want, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseCRL(der)
		if err != nil {
			t.Fatalf("%d entries: %v", size, err)
		}
		if got.number.Cmp(want.Number) != 0 || !bytes.Equal(got.keyID, want.AuthorityKeyId) || !got.thisUpdate.Equal(want.ThisUpdate) ||
			!got.nextUpdate.Equal(want.NextUpdate) || !bytes.Equal(got.issuer, want.RawIssuer) {
			t.Errorf("%d entries: the header differs", size)
		}
		if err := got.verifiedBy(root.cert); err != nil {
			t.Errorf("%d entries: %v", size, err)
		}
		for _, e := range want.RevokedCertificateEntries {
			found, ok := got.find(e.SerialNumber)
			if !ok || !found.at.Equal(e.RevocationTime) || int(found.reason) != e.ReasonCode {
				t.Errorf("%d entries: %x: %v, %v", size, e.SerialNumber, found, ok)
			}
			if _, ok := got.find(new(big.Int).Add(e.SerialNumber, new(big.Int).Lsh(big.NewInt(1), 165))); ok {
				t.Errorf("%d entries: a serial that is not there was found", size)
			}
		}
		for _, absent := range []*big.Int{nil, big.NewInt(0), big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 159)} {
			if _, ok := got.find(absent); ok {
				t.Errorf("%d entries: found %v", size, absent)
			}
		}
	}
}

// A serial that a list names a hundred thousand times costs no more than as many others.
func TestRepeatedSerialIsLinear(t *testing.T) {
	p := soundCRL()
	p.entries = bytes.Repeat(entry([]byte{5}), 100_000)
	took := processorTime(t, func() {
		c, err := parseCRL(p.der())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := c.find(big.NewInt(5)); !ok {
			t.Error("not found")
		}
	})
	if took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// Beside its own bytes a list costs less than 13 bytes an entry.
func TestLargeCRLIsLean(t *testing.T) {
	const count = 200_000
	p := soundCRL()
	serial := bytes.Repeat([]byte{0x11}, 20)
	one := entry(serial)
	list := make([]byte, 0, count*len(one))
	for i := range count {
		copy(serial[1:], []byte{byte(i >> 16), byte(i >> 8), byte(i)})
		list = append(list, entry(serial)...)
	}
	p.entries = list
	der := p.der()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c, err := parseCRL(der)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 13*count {
		t.Errorf("%d entries allocate %d bytes", count, grown)
	}
	if _, ok := c.find(new(big.Int).SetBytes(serial)); !ok {
		t.Error("the last entry is not found")
	}
}

// FuzzParseCRL: whatever is accepted, crypto/x509 accepts too and reads the same number,
// times, issuer and entries; each entry is found.
func FuzzParseCRL(f *testing.F) {
	root := newRoot(f, "root", crlNow)
	f.Add(root.crl(1, nil))
	f.Add(root.crl(2, []*x509.Certificate{root.leaf("spiffe://td/a").Leaf, root.leaf("spiffe://td/b").Leaf}))
	p := soundCRL()
	p.entries = entry([]byte{5}, entryExtension([]int{2, 5, 29, 21}, false, 0x0a, 1, 1))
	f.Add(p.der())
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := parseCRL(der)
		if err != nil {
			return
		}
		want, err := x509.ParseRevocationList(der)
		if err != nil {
			// crypto/x509 is stricter about names and times that are not used here.
			return
		}
		if got.number.Cmp(want.Number) != 0 || !bytes.Equal(got.keyID, want.AuthorityKeyId) || !bytes.Equal(got.issuer, want.RawIssuer) ||
			!got.thisUpdate.Equal(want.ThisUpdate) || !got.nextUpdate.Equal(want.NextUpdate) || !bytes.Equal(got.tbs, want.RawTBSRevocationList) {
			t.Fatalf("%+v differs from %+v", got, want)
		}
		for _, e := range want.RevokedCertificateEntries {
			if _, ok := got.find(e.SerialNumber); !ok {
				t.Fatalf("%v is not found", e.SerialNumber)
			}
		}
	})
}
