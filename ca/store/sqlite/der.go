package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
)

// This file packs a certificate's DER against a template: another certificate, of the same
// issuer and profile. What is packed is a list of steps; each is the number of octets that
// stand there as they are, those octets, and the length and the place of what follows them in the
// template. Numbers are unsigned varints; the last step may have no copy.

const (
	minCopy   = 4       // shorter ones cost more than they save
	maxPacked = 1 << 16 // octets of a certificate that is packed or unpacked; larger ones are stored whole
)

var errPacked = errors.New("its DER is not packed as it should be")

// template is a certificate that others are packed against, by one goroutine at a time.
type template struct {
	id    int64
	der   []byte
	steps []byte                 // room for what is packed
	proof []byte                 // and for the same, unpacked again
	place [1 << placeBits]uint16 // one more than where four octets with that hash stand, the last place of several
}

const placeBits = 11

// hashOf is of the first four octets, by Knuth's multiplicative method.
func hashOf(der []byte) uint32 {
	return binary.LittleEndian.Uint32(der) * 2654435761 >> (32 - placeBits)
}

// newTemplate looks at the beginning only, if der is very long.
func newTemplate(id int64, der []byte) *template {
	t := &template{id: id, der: der}
	for i := 0; i+minCopy <= min(len(der), maxPacked-1); i++ {
		t.place[hashOf(der[i:])] = uint16(i + 1)
	}
	return t
}

// pack returns der's packed form, or false when that is not worth it.
func (t *template) pack(der []byte) ([]byte, bool) {
	if len(der) > maxPacked {
		return nil, false
	}
	packed := t.steps[:0]
	plain, next := 0, 0 // where the octets that stand as they are begin, and where the template would go on
	for i := 0; i < len(der); {
		from, n := t.match(der[i:], next+i-plain)
		if n < minCopy {
			i++
			continue
		}
		packed = appendStep(packed, der[plain:i], n, from)
		i += n
		plain, next = i, from+n
	}
	packed = appendStep(packed, der[plain:], 0, 0)
	t.steps = packed
	if len(packed) > len(der)*3/4 {
		return nil, false
	}
	whole, err := unpackInto(t.proof[:0], t.der, packed)
	t.proof = whole[:0]
	return bytes.Clone(packed), err == nil && bytes.Equal(whole, der)
}

// match finds what der begins with: where the last copy would go on, or else anywhere.
func (t *template) match(der []byte, expected int) (from, n int) {
	if expected < len(t.der) {
		if n = common(t.der[expected:], der); n >= minCopy {
			return expected, n
		}
	}
	if len(der) < minCopy {
		return 0, 0
	}
	place := t.place[hashOf(der)]
	if place == 0 {
		return 0, 0
	}
	from = int(place) - 1
	return from, common(t.der[from:], der)
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if differ := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); differ != 0 {
			return i + bits.TrailingZeros64(differ)/8
		}
	}
	for ; i < n; i++ {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func appendStep(packed, plain []byte, n, from int) []byte {
	packed = append(binary.AppendUvarint(packed, uint64(len(plain))), plain...)
	if n == 0 {
		return packed
	}
	return binary.AppendUvarint(binary.AppendUvarint(packed, uint64(n)), uint64(from))
}

// unpack is the inverse of pack. It refuses what is damaged, and never reads outside of
// template nor makes more than maxPacked octets.
func unpack(template, packed []byte) ([]byte, error) {
	return unpackInto(make([]byte, 0, len(template)+64), template, packed)
}

// unpackInto appends to der, which is empty.
func unpackInto(der, template, packed []byte) ([]byte, error) {
	for len(packed) > 0 {
		plain, rest, ok := number(packed)
		if !ok || plain > len(rest) || len(der)+plain > maxPacked {
			return nil, errPacked
		}
		der, packed = append(der, rest[:plain]...), rest[plain:]
		if len(packed) == 0 {
			return der, nil
		}
		n, rest, ok := number(packed)
		from, rest, there := number(rest)
		if !ok || !there || from+n > len(template) || len(der)+n > maxPacked {
			return nil, errPacked
		}
		der, packed = append(der, template[from:from+n]...), rest
	}
	return der, nil
}

// number reads a varint that fits the bounds here.
func number(data []byte) (int, []byte, bool) {
	n, size := binary.Uvarint(data)
	if size <= 0 || n > maxPacked {
		return 0, nil, false
	}
	return int(n), data[size:], true
}
