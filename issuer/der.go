package issuer

import (
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// der is what was written so far of a DER encoding (X.690, section 10). It does what cryptobyte.Builder
// does, without an allocation for each level: that was most of what a draft cost.
type der struct {
	octets []byte
	err    error // the first
}

func newDER(room int) *der { return &der{octets: make([]byte, 0, room)} }

// bytes returns the encoding, or why there is none.
func (d *der) bytes() ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	return d.octets, nil
}

// add appends octets as they are.
func (d *der) add(octets ...byte) { d.octets = append(d.octets, octets...) }

// element writes an element whose content is what content writes.
func (d *der) element(tag asn1.Tag, content func(d *der)) {
	start := d.open(tag)
	content(d)
	d.close(start)
}

// value writes an element with a string for its content.
func (d *der) value(tag asn1.Tag, content string) {
	start := d.open(tag)
	d.octets = append(d.octets, content...)
	d.close(start)
}

// open leaves room for a length below 128, which most are, and returns where the content begins.
func (d *der) open(tag asn1.Tag) int {
	d.octets = append(d.octets, byte(tag), 0)
	return len(d.octets)
}

// close writes the length in its shortest form (X.690, section 10.1), and moves the content if that needs more room.
func (d *der) close(start int) {
	n := len(d.octets) - start
	switch {
	case n < 0x80:
		d.octets[start-1] = byte(n)
	case n <= 0xff:
		d.octets = append(d.octets, 0)
		copy(d.octets[start+1:], d.octets[start:])
		d.octets[start-1], d.octets[start] = 0x81, byte(n)
	case n <= 0xffff:
		d.octets = append(d.octets, 0, 0)
		copy(d.octets[start+2:], d.octets[start:])
		d.octets[start-1], d.octets[start], d.octets[start+1] = 0x82, byte(n>>8), byte(n)
	default:
		d.fail(fmt.Errorf("an element has %d octets", n))
	}
}

func (d *der) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// time writes UTCTime until 2049 and GeneralizedTime from then on (RFC 5280, section 4.1.2.5).
func (d *der) time(t time.Time) {
	t = t.UTC()
	tag, layout := asn1.UTCTime, "060102150405Z"
	if year := t.Year(); year < 1950 || year > 9999 {
		d.fail(fmt.Errorf("the year %d has no encoding", year))
	} else if year >= 2050 {
		tag, layout = asn1.GeneralizedTime, "20060102150405Z"
	}
	start := d.open(tag)
	d.octets = t.AppendFormat(d.octets, layout)
	d.close(start)
}
