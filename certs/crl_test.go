package certs

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

var crlNow = time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)

// plainCRL is a CRL in its parts, so that a test can spoil one of them.
type plainCRL struct {
	version              []byte
	inner, outer, issuer []byte
	this, next           []byte
	entries              []byte // nil leaves the list out
	extensions           []pkix.Extension
	behind               []byte // after the extensions, inside the TBSCertList
}

const ecdsaSHA256 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"

func soundCRL() plainCRL {
	return plainCRL{
		version: []byte{2, 1, 1}, inner: []byte(ecdsaSHA256), outer: []byte(ecdsaSHA256), issuer: []byte{0x30, 0},
		this: utc("300506070809Z"), next: utc("300507070809Z"),
		extensions: []pkix.Extension{
			withExtension([]int{2, 5, 29, 35}, false, []byte{0x30, 3, 0x80, 1, 7}),
			withExtension([]int{2, 5, 29, 20}, false, []byte{2, 1, 5}),
		},
	}
}

func tlv(tag byte, content ...[]byte) []byte {
	body := bytes.Join(content, nil)
	out, err := asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 0x1f), IsCompound: tag&0x20 != 0, Bytes: body})
	if err != nil {
		panic(err)
	}
	return out
}

func utc(s string) []byte { return tlv(tagUTCTime, []byte(s)) }

func (p plainCRL) der() []byte {
	parts := [][]byte{p.version, p.inner, p.issuer, p.this, p.next}
	if p.entries != nil {
		parts = append(parts, tlv(tagSequence, p.entries))
	}
	if p.extensions != nil {
		extensions, err := asn1.Marshal(p.extensions)
		if err != nil {
			panic(err)
		}
		parts = append(parts, tlv(tagContext0, extensions))
	}
	parts = append(parts, p.behind)
	return tlv(tagSequence, tlv(tagSequence, parts...), p.outer, tlv(tagBitString, []byte{0, 1, 2, 3}))
}

func entry(serial []byte, rest ...[]byte) []byte {
	return tlv(tagSequence, append([][]byte{tlv(tagInteger, serial), utc("300506000000Z")}, rest...)...)
}

func entryExtension(oid asn1.ObjectIdentifier, critical bool, value ...byte) []byte {
	der, err := asn1.Marshal([]pkix.Extension{withExtension(oid, critical, value)})
	if err != nil {
		panic(err)
	}
	return der
}

func TestParseCRL(t *testing.T) {
	without := func(i int) []pkix.Extension {
		e := soundCRL().extensions
		return append(e[:i:i], e[i+1:]...)
	}
	with := func(e pkix.Extension) func(*plainCRL) {
		return func(p *plainCRL) { p.extensions = append(p.extensions, e) }
	}
	for _, test := range []struct {
		name  string
		spoil func(*plainCRL)
		fault string // "" is none
	}{
		{"sound", func(*plainCRL) {}, ""},
		{"an entry", func(p *plainCRL) { p.entries = entry([]byte{5}) }, ""},
		{"a reason", func(p *plainCRL) {
			p.entries = entry([]byte{5}, entryExtension([]int{2, 5, 29, 21}, false, 0x0a, 1, 1))
		}, ""},
		{"an unknown extension", with(withExtension([]int{1, 2, 3}, false, []byte{5, 0})), ""},
		{"freshestCRL", with(withExtension([]int{2, 5, 29, 46}, false, []byte{0x30, 0})), ""},
		{"an unknown entry extension", func(p *plainCRL) { p.entries = entry([]byte{5}, entryExtension([]int{1, 2, 3}, false, 5, 0)) }, ""},
		{"generalized time", func(p *plainCRL) { p.next = tlv(tagGeneralizedTime, []byte("20510101000000Z")) }, ""},

		{"version 1", func(p *plainCRL) { p.version = nil }, "version 2"},
		{"version 3", func(p *plainCRL) { p.version = []byte{2, 1, 2} }, "version 2"},
		{"two algorithms", func(p *plainCRL) { p.inner = []byte(strings.Replace(ecdsaSHA256, "\x03\x02", "\x03\x03", 1)) }, "two different"},
		{"SHA-1", func(p *plainCRL) { p.outer = []byte("\x30\x09\x06\x07\x2a\x86\x48\xce\x3d\x04\x01") }, "not allowed"},
		{"no nextUpdate", func(p *plainCRL) { p.next = nil }, "nextUpdate"},
		{"nextUpdate before thisUpdate", func(p *plainCRL) { p.next = utc("300505070809Z") }, "before its thisUpdate"},
		{"a time without seconds", func(p *plainCRL) { p.this = utc("3005060708Z") }, "header"},
		{"a time with an offset", func(p *plainCRL) { p.this = utc("300506070809+0100") }, "header"},
		{"no extensions", func(p *plainCRL) { p.extensions = nil }, "no extensions"},
		{"something behind", func(p *plainCRL) { p.behind = []byte{5, 0} }, "behind"},
		{"no key identifier", func(p *plainCRL) { p.extensions = without(0) }, "authority key identifier"},
		{"no number", func(p *plainCRL) { p.extensions = without(1) }, "CRLNumber"},
		{"an extension twice", with(soundCRL().extensions[1]), "twice"},
		{"a negative number", func(p *plainCRL) { p.extensions[1].Value = []byte{2, 1, 0x80} }, "CRLNumber"},
		{"an endless number", func(p *plainCRL) { p.extensions[1].Value = tlv(tagInteger, append([]byte{1}, make([]byte, 20)...)) }, "CRLNumber"},
		{"delta", with(withExtension([]int{2, 5, 29, 27}, true, []byte{2, 1, 4})), "delta"},
		{"delta, not critical", with(withExtension([]int{2, 5, 29, 27}, false, []byte{2, 1, 4})), "delta"},
		{"partitioned", with(withExtension([]int{2, 5, 29, 28}, true, []byte{0x30, 0})), "partitioned"},
		{"partitioned, not critical", with(withExtension([]int{2, 5, 29, 28}, false, []byte{0x30, 0})), "partitioned"},
		{"unknown critical extension", with(withExtension([]int{1, 2, 3}, true, []byte{5, 0})), "critical extension 1.2.3"},
		{"unknown critical entry extension", func(p *plainCRL) { p.entries = entry([]byte{5}, entryExtension([]int{1, 2, 3}, true, 5, 0)) }, "critical"},
		{"indirect", func(p *plainCRL) {
			p.entries = entry([]byte{5}, entryExtension([]int{2, 5, 29, 29}, true, 0x30, 0))
		}, "indirect"},
		{"indirect, not critical", func(p *plainCRL) {
			p.entries = entry([]byte{5}, entryExtension([]int{2, 5, 29, 29}, false, 0x30, 0))
		}, "indirect"},
		{"removeFromCRL", func(p *plainCRL) {
			p.entries = entry([]byte{5}, entryExtension([]int{2, 5, 29, 21}, false, 0x0a, 1, 8))
		}, "removeFromCRL"},
		{"serial zero", func(p *plainCRL) { p.entries = entry([]byte{0}) }, "zero"},
		{"a negative serial", func(p *plainCRL) { p.entries = entry([]byte{0x80}) }, "not positive"},
		{"an empty serial", func(p *plainCRL) { p.entries = entry(nil) }, "not positive"},
		{"a padded serial", func(p *plainCRL) { p.entries = entry([]byte{0, 5}) }, "malformed"},
		{"a serial of 21 octets", func(p *plainCRL) { p.entries = entry(bytes.Repeat([]byte{1}, 21)) }, "too long"},
		{"an entry that is none", func(p *plainCRL) { p.entries = []byte{5, 0} }, "malformed"},
		{"an entry without a time", func(p *plainCRL) { p.entries = tlv(tagSequence, tlv(tagInteger, []byte{5})) }, "malformed"},
		{"something behind an entry", func(p *plainCRL) { p.entries = entry([]byte{5}, []byte{0x30, 0}, []byte{5, 0}) }, "malformed"},
	} {
		p := soundCRL()
		test.spoil(&p)
		c, err := parseCRL(p.der())
		switch {
		case test.fault == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
			t.Errorf("%s: got %v, %v; want %q", test.name, c, err, test.fault)
		}
	}
}

func TestParseCRLSizes(t *testing.T) {
	sound := soundCRL().der()
	if _, err := parseCRL(append(sound, 0)); err == nil {
		t.Error("a byte behind the CRL was not seen")
	}
	if _, err := parseCRL(make([]byte, maxCRLSize+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("over the size: %v", err)
	}
	if _, err := NewRevocation(make([][]byte, maxCRLs+1)); err == nil {
		t.Error("too many CRLs were taken")
	}
	half := make([]byte, maxCRLTotal/2+1)
	if _, err := NewRevocation([][]byte{half, half}); err == nil {
		t.Error("too large CRLs were taken")
	}
	if r, err := NewRevocation(nil); err != nil || len(r.Numbers()) != 0 || len(r.CRLs()) != 0 || !r.NextUpdate().IsZero() {
		t.Errorf("no CRLs: %+v, %v", r, err)
	}
}

// RFC 5280 turns the century at 50, time.Parse at 69.
func TestUTCTimeCentury(t *testing.T) {
	for in, year := range map[string]int{"490101000000Z": 2049, "500101000000Z": 1950, "680101000000Z": 1968, "690101000000Z": 1969, "000101000000Z": 2000} {
		d := der(utc(in))
		if got, err := readTime(&d); err != nil || got.Year() != year {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
}

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
	start := time.Now()
	c, err := parseCRL(p.der())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.find(big.NewInt(5)); !ok {
		t.Error("not found")
	}
	if took := time.Since(start); took > 5*time.Second {
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
