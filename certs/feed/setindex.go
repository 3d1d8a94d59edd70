package feed

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// riceParameter is the length of the remainders that makes count uniform hashes shortest. A gap is
// distributed exponentially around 2^64/count; its quotient by 2^k takes 1/(1-exp(-2^k/mean)) bits on the average.
func riceParameter(count int) uint {
	best, least := uint(63), math.Inf(1)
	mean := math.Exp2(64) / float64(max(count, 1))
	for k := range uint(64) {
		if cost := float64(k) + 1/-math.Expm1(-math.Exp2(float64(k))/mean); cost < least {
			best, least = k, cost
		}
	}
	return best
}

// bucketShift gives buckets of 16 to 32 elements on the average, at least one bucket.
func bucketShift(count int) uint {
	return 64 - uint(max(bits.Len(uint(count)/perBucket)-1, 0)) // #nosec G115 -- not negative
}

// open notes that the next element, at this bit, is hash and follows last.
func (s *Set) open(hash, last uint64, position int) {
	for uint64(len(s.offsets)) <= hash>>s.shift {
		s.offsets = append(s.offsets, uint32(position)) // #nosec G115 -- maxSetSize bounds it
		s.before = append(s.before, last)
	}
}

// close notes that there are no more elements.
func (s *Set) close(last uint64, position int) {
	s.open(math.MaxUint64, last, position)
	s.offsets = append(s.offsets, uint32(position)) // #nosec G115 -- maxSetSize bounds it
}

// newIndex makes room for the index of s.
func (s *Set) newIndex() {
	buckets := 1 << (64 - s.shift)
	s.offsets, s.before = make([]uint32, 0, buckets+1), make([]uint64, 0, buckets)
}

// wide is how many bits an unaligned read of eight octets gives at least.
const wide = 57

// load returns the bits from position on; at least wide of them count.
func (s *Set) load(position int) uint64 {
	at := setHeader + position>>3
	return binary.LittleEndian.Uint64(s.raw[at:at+8:cap(s.raw)]) >> (position & 7)
}

// gap reads the gap that begins at position and returns where the next one begins. It goes on
// to end at most, and returns -1 when the gap does not end before it or is not below 2^64.
func (s *Set) gap(position, end int) (gap uint64, next int) {
	window := s.load(position)
	quotient := bits.TrailingZeros64(window | 1<<wide)
	length := quotient + 1 + int(s.rice) // #nosec G115 -- at most 63
	if length <= wide && position+length <= end {
		remainder := window >> (quotient + 1) & (1<<s.rice - 1)
		// A quotient is checked by ParseSet; here it is below 57.
		if bits.Len(uint(quotient))+int(s.rice) > 64 { // #nosec G115 -- at most 63
			return 0, -1
		}
		return uint64(quotient)<<s.rice | remainder, position + length // #nosec G115 -- not negative
	}
	return s.longGap(position, end)
}

// longGap is gap for what one read does not hold.
func (s *Set) longGap(position, end int) (gap uint64, next int) {
	quotient := uint64(0)
	for {
		if position >= end {
			return 0, -1
		}
		zeros := bits.TrailingZeros64(s.load(position) | 1<<wide)
		quotient += uint64(zeros) // #nosec G115 -- not negative
		position += zeros
		if zeros < wide {
			position++
			break
		}
	}
	if position+int(s.rice) > end || bits.Len64(quotient)+int(s.rice) > 64 { // #nosec G115 -- at most 63
		return 0, -1
	}
	low := min(s.rice, 32)
	remainder := s.load(position) & (1<<low - 1)
	if high := s.rice - low; high > 0 {
		remainder |= s.load(position+32) & (1<<high - 1) << 32
	}
	return quotient<<s.rice | remainder, position + int(s.rice) // #nosec G115 -- at most 63
}

// bitWriter writes bits, the lowest of an octet first.
type bitWriter struct {
	out     []byte
	pending uint64
	used    uint // bits of pending
}

// position returns how many bits were written behind the header.
func (w *bitWriter) position() int { return (len(w.out)-setHeader)*8 + int(w.used) } // #nosec G115 -- below 64

// write appends the lowest n bits of value; n is below 64.
func (w *bitWriter) write(value uint64, n uint) {
	value &= 1<<n - 1
	w.pending |= value << w.used
	if w.used+n < 64 {
		w.used += n
		return
	}
	w.out = binary.LittleEndian.AppendUint64(w.out, w.pending)
	w.pending = value >> (64 - w.used)
	w.used += n - 64
}

// unary appends n zeros and a one.
func (w *bitWriter) unary(n uint64) {
	for ; n >= 63; n -= 63 {
		w.write(0, 63)
	}
	w.write(1<<n, uint(n)+1)
}

// flush fills the last octet up with zeros.
func (w *bitWriter) flush() {
	for ; w.used > 0; w.used -= min(w.used, 8) {
		w.out = append(w.out, byte(w.pending))
		w.pending >>= 8
	}
}

// padded returns data with room behind it that load may read.
func padded(data []byte) []byte {
	if cap(data) >= len(data)+setPadding && cap(data) <= len(data)+len(data)/64+4*setPadding {
		clear(data[len(data):cap(data)])
		return data
	}
	out := make([]byte, len(data), len(data)+setPadding)
	copy(out, data)
	return out
}
