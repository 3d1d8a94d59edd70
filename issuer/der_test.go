package issuer

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Around each length at which the length's own encoding grows, and nested, so that what is inside moves.
func TestDERIsCryptobytes(t *testing.T) {
	for _, n := range []int{0, 1, 0x7d, 0x7e, 0x7f, 0x80, 0xfc, 0xfd, 0xff, 0x100, 0x101, 0xfff8, 0xfffb} {
		content := strings.Repeat("x", n)
		d := newDER(0)
		d.add(5, 0)
		d.element(asn1.SEQUENCE, func(d *der) { d.value(asn1.UTF8String, content); d.add(5, 0) })
		got, err := d.bytes()
		if n > 0xfff9 {
			if err == nil {
				t.Errorf("%d octets are accepted", n)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d octets: %v", n, err)
		}
		var b cryptobyte.Builder
		b.AddBytes([]byte{5, 0})
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(content)) })
			b.AddBytes([]byte{5, 0})
		})
		if want := b.BytesOrPanic(); !bytes.Equal(got, want) {
			t.Errorf("%d octets: %.24x, want %.24x", n, got, want)
		}
	}
}

func TestDERTime(t *testing.T) {
	east := time.FixedZone("", 3600)
	for _, tt := range []struct {
		at   time.Time
		want string // the element; "" is an error
	}{
		{time.Date(1949, 12, 31, 23, 59, 59, 0, time.UTC), ""},
		{time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC), "\x17\x0d500101000000Z"},
		{time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), "\x17\x0d491231235959Z"},
		{time.Date(2050, 1, 1, 0, 30, 0, 0, east), "\x17\x0d491231233000Z"},
		{time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), "\x18\x0f20500101000000Z"},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), "\x18\x0f99991231235959Z"},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), ""},
	} {
		d := newDER(0)
		d.time(tt.at)
		got, err := d.bytes()
		if string(got) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%v: %q, %v, want %q", tt.at, got, err, tt.want)
		}
	}
}
