// Package der reads and writes DER values one after the other without reflection. encoding/asn1
// reads the small parts of certificates; what is signed here is short to spell, read strictly (nothing may stand
// behind the last member), and may hold a million entries.
package der

import (
	"errors"
	"math/bits"
)

// Tags of the values that occur here.
const (
	Integer     = 0x02
	BitString   = 0x03
	OctetString = 0x04
	Boolean     = 0x01
	UTF8String  = 0x0c
	Sequence    = 0x30
)

// ErrMalformed is the error of everything that is not the DER that was expected.
var ErrMalformed = errors.New("malformed DER")

// Value is DER values one after the other, read from the front.
type Value []byte

// Next splits off the first value: its tag, its content, and the value whole.
func (v *Value) Next() (tag byte, content, whole Value, err error) {
	b := *v
	if len(b) < 2 || b[0]&0x1f == 0x1f { // no multi-byte tags occur here
		return 0, nil, nil, ErrMalformed
	}
	header, length := 2, int(b[1])
	if b[1] >= 0x80 {
		octets := int(b[1] & 0x7f)
		if octets == 0 || octets > 4 || len(b) < 2+octets || b[2] == 0 {
			return 0, nil, nil, ErrMalformed // indefinite, absurd or not minimal
		}
		length = 0
		for _, octet := range b[2 : 2+octets] {
			length = length<<8 | int(octet)
		}
		if length < 0x80 {
			return 0, nil, nil, ErrMalformed
		}
		header += octets
	}
	if length < 0 || length > len(b)-header {
		return 0, nil, nil, ErrMalformed
	}
	*v = b[header+length:]
	return b[0], b[header : header+length], b[:header+length], nil
}

// Read splits off the first value, which has to have this tag.
func (v *Value) Read(tag byte) (content, whole Value, err error) {
	got, content, whole, err := v.Next()
	if err == nil && got != tag {
		err = ErrMalformed
	}
	if err != nil {
		return nil, nil, err
	}
	return content, whole, nil
}

// Peek returns the tag of the first value, 0 at the end.
func (v Value) Peek() byte {
	if len(v) == 0 {
		return 0
	}
	return v[0]
}

// ReadUint splits off an INTEGER from 0 to 2^64-1 in its shortest form.
func (v *Value) ReadUint() (uint64, error) {
	content, _, err := v.Read(Integer)
	if err != nil {
		return 0, err
	}
	if len(content) == 0 || content[0]&0x80 != 0 || len(content) > 1 && content[0] == 0 && content[1]&0x80 == 0 {
		return 0, ErrMalformed
	}
	if content[0] == 0 {
		content = content[1:]
	}
	if len(content) > 8 {
		return 0, ErrMalformed
	}
	n := uint64(0)
	for _, octet := range content {
		n = n<<8 | uint64(octet)
	}
	return n, nil
}

// Append appends a value to dst whose content is these pieces one after the other.
func Append(dst []byte, tag byte, pieces ...[]byte) []byte {
	length := 0
	for _, piece := range pieces {
		length += len(piece)
	}
	dst = AppendHeader(dst, tag, length)
	for _, piece := range pieces {
		dst = append(dst, piece...)
	}
	return dst
}

// AppendHeader appends the tag and the length of a value whose content follows.
func AppendHeader(dst []byte, tag byte, length int) []byte {
	dst = append(dst, tag)
	if length < 0x80 {
		dst = append(dst, byte(length))
	} else {
		octets := (bits.Len(uint(length)) + 7) / 8
		dst = append(dst, 0x80|byte(octets))
		for i := octets - 1; i >= 0; i-- {
			dst = append(dst, byte(length>>(8*i)))
		}
	}
	return dst
}

// AppendUint appends an INTEGER.
func AppendUint(dst []byte, n uint64) []byte {
	octets := bits.Len64(n)/8 + 1 // with a sign bit in front
	dst = append(dst, Integer, byte(octets))
	for i := octets - 1; i >= 0; i-- {
		dst = append(dst, byte(n>>(8*i))) // a shift by 64 gives 0
	}
	return dst
}
