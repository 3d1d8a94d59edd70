package certs

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
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
