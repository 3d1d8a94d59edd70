package certs

import "errors"

// Tags of the DER values that are read here.
const (
	tagBoolean         = 0x01
	tagInteger         = 0x02
	tagBitString       = 0x03
	tagOctetString     = 0x04
	tagObjectID        = 0x06
	tagEnumerated      = 0x0a
	tagUTCTime         = 0x17
	tagGeneralizedTime = 0x18
	tagSequence        = 0x30
	tagContext0        = 0xa0
	tagContext1        = 0xa1
	tagContext2        = 0xa2
	tagURI             = 0x86 // uniformResourceIdentifier in a GeneralName
)

var errDER = errors.New("malformed DER")

// der reads DER values one after the other without copying. encoding/asn1 reads the
// small parts; a list of a million entries needs something that does not allocate for each.
type der []byte

// next splits off the first value: its tag, its content, and the value whole.
func (d *der) next() (tag byte, content, whole der, err error) {
	b := *d
	if len(b) < 2 || b[0]&0x1f == 0x1f { // no multi-byte tags occur here
		return 0, nil, nil, errDER
	}
	header, length := 2, int(b[1])
	if b[1] >= 0x80 {
		octets := int(b[1] & 0x7f)
		if octets == 0 || octets > 4 || len(b) < 2+octets || b[2] == 0 {
			return 0, nil, nil, errDER // indefinite, absurd or not minimal
		}
		length = 0
		for _, octet := range b[2 : 2+octets] {
			length = length<<8 | int(octet)
		}
		if length < 0x80 {
			return 0, nil, nil, errDER
		}
		header += octets
	}
	if length < 0 || length > len(b)-header {
		return 0, nil, nil, errDER
	}
	*d = b[header+length:]
	return b[0], b[header : header+length], b[:header+length], nil
}

// read splits off the first value, which has to have this tag.
func (d *der) read(tag byte) (content, whole der, err error) {
	got, content, whole, err := d.next()
	if err == nil && got != tag {
		err = errDER
	}
	if err != nil {
		return nil, nil, err
	}
	return content, whole, nil
}

// peek returns the tag of the first value, 0 at the end.
func (d der) peek() byte {
	if len(d) == 0 {
		return 0
	}
	return d[0]
}
