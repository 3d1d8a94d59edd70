package feed

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"iter"
	"slices"
)

// Limits of a set.
const (
	maxSetSize = 60 << 20 // bytes: it has to fit into a statement
	setHeader  = 6        // version, parameter, count
	setVersion = 1
	setPadding = 8  // octets behind the body that a read of eight may touch
	perBucket  = 32 // elements of a bucket, on the average at least
)

var errSet = errors.New("the compact set is malformed")

// Hash is what stands for a certificate in a Set: the first 64 bits of the SHA-256 of its
// issuer's subject key identifier (given in hexadecimal) and its serial (big-endian magnitude). Of 5,000,000
// revoked certificates, another certificate is taken for one of them once in about 4 * 10^12 times.
func Hash(issuer string, serial []byte) uint64 {
	var buffer [1 + maxKeyID + maxSerial]byte
	input := buffer[:1]
	input, err := hex.AppendDecode(input, []byte(issuer))
	if err != nil { // no subject key identifier, so of no certificate: hashed as it is
		input = append(buffer[:1], issuer...)
	}
	input[0] = byte(len(input) - 1) // so that an issuer's end is not taken for a serial's beginning
	sum := sha256.Sum256(append(input, serial...))
	return binary.BigEndian.Uint64(sum[:])
}

// Set is a compact set of hashes, immutable and safe for concurrent use: sorted, the gaps Golomb-Rice coded.
// An element costs about 64 + 1.5 - log2(elements) bits (5.7 bytes of a million) on the wire, and half a byte of an
// index beside it in memory. A nil Set is empty. A hash may stand in it several times, once for
// each certificate that has it.
type Set struct {
	raw     []byte // header and body; setPadding zero octets stand behind it within its capacity
	count   int
	rice    uint     // bits of a gap's remainder
	shift   uint     // a hash shifted right by it is its bucket
	offsets []uint32 // for each bucket and the end: the bit where its first element begins
	before  []uint64 // for each bucket: the element before its first one, 0 for none
}

// NewSet makes the set of these hashes, in any order; they are sorted in place.
func NewSet(hashes []uint64) *Set {
	sortHashes(hashes)
	return encodeSet(len(hashes), slices.Values(hashes))
}

// encodeSet codes count rising elements.
func encodeSet(count int, elements iter.Seq[uint64]) *Set {
	s := &Set{count: count, rice: riceParameter(count), shift: bucketShift(count)}
	s.newIndex()
	w := bitWriter{out: make([]byte, setHeader, setHeader+count*(int(s.rice)+2)/8+2*setPadding)} // #nosec G115 -- at most 63
	w.out[0], w.out[1] = setVersion, byte(s.rice)
	binary.BigEndian.PutUint32(w.out[2:], uint32(count)) // #nosec G115 -- 4 billion hashes do not fit into memory
	last := uint64(0)
	for hash := range elements {
		s.open(hash, last, w.position())
		gap := hash - last
		w.unary(gap >> s.rice)
		w.write(gap, s.rice)
		last = hash
	}
	s.close(last, w.position())
	w.flush()
	s.raw = padded(w.out)
	return s
}

// ParseSet reads what Bytes returned, strictly, and keeps a copy: at most 60 MiB. Memory stays
// below one and a half times the size of data.
func ParseSet(data []byte) (*Set, error) {
	if len(data) < setHeader || len(data) > maxSetSize || data[0] != setVersion || data[1] > 63 {
		return nil, errSet
	}
	count, rice := int(binary.BigEndian.Uint32(data[2:])), uint(data[1])
	end := (len(data) - setHeader) * 8
	if count > end/(int(rice)+1) { // #nosec G115 -- at most 63
		return nil, errSet
	}
	s := &Set{raw: make([]byte, len(data), len(data)+2*setPadding), count: count, rice: rice, shift: bucketShift(count)}
	copy(s.raw, data)
	s.newIndex()
	position, last := 0, uint64(0)
	for range count {
		gap, next := s.gap(position, end)
		if next < 0 || last+gap < last {
			return nil, errSet
		}
		s.open(last+gap, last, position)
		last, position = last+gap, next
	}
	s.close(last, position)
	if end-position >= 8 || position < end && s.load(position) != 0 {
		return nil, errSet // something behind the last element
	}
	return s, nil
}

// Len returns how many elements s has.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.count
}

// Has reports whether hash is in s. It decodes one bucket, 16 to 32 elements on the average.
func (s *Set) Has(hash uint64) bool { return s.times(hash) > 0 }

// times returns how often hash is in s.
func (s *Set) times(hash uint64) (times int) {
	if s.Len() == 0 {
		return 0
	}
	bucket := hash >> s.shift
	position, end, at := int(s.offsets[bucket]), int(s.offsets[bucket+1]), s.before[bucket]
	for position < end {
		gap, next := s.gap(position, end)
		if next < 0 {
			return times // cannot be: the set was checked
		}
		at, position = at+gap, next
		if at == hash {
			times++
		} else if at > hash {
			break
		}
	}
	return times
}

// All returns the elements, rising.
func (s *Set) All() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		if s.Len() == 0 {
			return
		}
		end, at := int(s.offsets[len(s.offsets)-1]), uint64(0)
		for position := 0; position < end; {
			gap, next := s.gap(position, end)
			at += gap
			if next < 0 || !yield(at) {
				return
			}
			position = next
		}
	}
}

// Bytes returns the set as ParseSet reads it: shared, do not change it.
func (s *Set) Bytes() []byte {
	if s == nil {
		return NewSet(nil).Bytes()
	}
	return s.raw[:len(s.raw):len(s.raw)]
}
