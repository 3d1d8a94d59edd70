package revocation

import (
	"hash/maphash"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation/crl"
)

// record is an entry about a certificate in 40 octets: a million of them and their index take 48 MB.
type record struct {
	sequence uint64
	at       uint32 // Unix time
	notAfter uint32
	serial   [certs.MaxSerialOctets]byte // right-aligned; a Serial has no leading zeros, so this is unique
	reason   uint8
	kind     Kind // Revoked, Held or Released
}

func newRecord(e Entry) record {
	r := record{
		sequence: e.Sequence, at: clampTime(e.At), notAfter: clampTime(e.NotAfter), reason: uint8(e.Reason), kind: e.Kind,
	}
	switch {
	case e.Kind == Held:
		r.reason = uint8(certs.CertificateHold)
	case e.Reason < certs.Unspecified || e.Reason > certs.AACompromise || e.Reason == certs.RemoveFromCRL:
		r.reason = uint8(certs.Unspecified) // no reason that a full CRL may give
	}
	r.serial = padSerial(e.Serial)
	return r
}

func padSerial(serial certs.Serial) (padded [certs.MaxSerialOctets]byte) {
	octets := serial.Bytes()
	copy(padded[len(padded)-len(octets):], octets)
	return padded
}

// clampTime fits t into 32 bits without a sign, which end in 2106.
func clampTime(t time.Time) uint32 {
	return uint32(min(max(t.Unix(), 0), math.MaxUint32))
}

func (r *record) magnitude() []byte {
	start := 0
	for r.serial[start] == 0 {
		start++
	}
	return r.serial[start:]
}

func (r *record) crlEntry() crl.Entry {
	return crl.Entry{Serial: r.magnitude(), At: int64(r.at), Reason: certs.Reason(r.reason)}
}

// shard is ShardOf for a record.
func (r *record) shard(shards int) int {
	low := int(r.serial[len(r.serial)-2])<<8 | int(r.serial[len(r.serial)-1])
	return low % shards
}

// refuses reports whether the certificate is not to be trusted.
func (r *record) refuses() bool { return r.kind != Released }

// follows reports whether r changes the state that the serial's last record left, nil
// for none. A revocation is final; only what is on hold can be released.
func (r *record) follows(last *record) bool {
	switch {
	case last == nil:
		return r.kind != Released
	case last.kind == Revoked:
		return false
	default:
		return r.kind != last.kind
	}
}

// link says that the record at position overtook an earlier one of the same serial.
type link struct{ position, overtaken uint32 }

// tick is a Published entry: the list lets go of expired certificates and deltas get
// a new base at ticks only, so that what a CRL holds follows from its number alone,
// on every replica and after every restart.
type tick struct {
	sequence uint64
	at       uint32
}

// head is the newest entry of an issuer.
type head struct {
	sequence uint64
	at       uint32
	kind     Kind
}

const (
	chunkRecords = 4096
	minIndex     = 1024
)

// history is one issuer's part of the log, folded. It is safe for concurrent use;
// no lock is held while a CRL is encoded from a view of it.
type history struct {
	mu     sync.RWMutex
	chunks [][]record // in the order of the log; records never change once they are here
	count  int
	index  []uint32 // open addressing, power of two; position of the serial's last record in chunks, plus one
	links  []link   // by position; only ever appended to
	seed   maphash.Seed
	ticks  []tick
	window uint32 // seconds that ticks are kept for
	head   head

	unsharded, unlisted delay // news that shards, and the full list, do not tell yet

	generation int    // of positions: forget moves records
	latestAt   uint32 // the latest time seen of an entry about a certificate
}

func newHistory(window time.Duration) *history {
	return &history{
		index: make([]uint32, minIndex), seed: maphash.MakeSeed(), window: uint32(window / time.Second),
	}
}

// apply folds entries, which must be this issuer's and in order. It returns how many of
// them changed a certificate's state.
func (h *history) apply(entries []Entry) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.count
	for _, e := range entries {
		at := clampTime(e.At)
		h.head = head{sequence: e.Sequence, at: at, kind: e.Kind}
		if e.Kind == Published {
			h.addTick(tick{sequence: e.Sequence, at: at})
			continue
		}
		h.latestAt = max(h.latestAt, at)
		h.add(newRecord(e))
	}
	return h.count - before
}

// addTick keeps the ticks that state looks at: those within the window, and two before them.
func (h *history) addTick(t tick) {
	h.ticks = append(h.ticks, t)
	old := 0
	for old < len(h.ticks)-1 && h.ticks[old].at+h.window < t.at {
		old++
	}
	if cut := min(old, len(h.ticks)-2) - 3; cut > 0 {
		h.ticks = slices.Clone(h.ticks[cut:])
	}
}

// add keeps r if it changes its serial's state.
func (h *history) add(r record) {
	slot := h.slot(r.serial)
	if !r.follows(h.at(slot)) {
		return
	}
	if overtaken := h.index[slot]; overtaken != 0 {
		h.links = append(h.links, link{position: uint32(h.count), overtaken: overtaken - 1})
	}
	h.insert(r, slot)
}

// insert makes r its serial's last record; slot is the serial's.
func (h *history) insert(r record, slot uint64) {
	if last := len(h.chunks) - 1; last < 0 || len(h.chunks[last]) == chunkRecords {
		h.chunks = append(h.chunks, make([]record, 0, chunkRecords))
	}
	last := len(h.chunks) - 1
	h.chunks[last] = append(h.chunks[last], r)
	h.count++
	if h.count > len(h.index)/4*3 {
		h.reindex(2 * len(h.index))
		return
	}
	h.index[slot] = uint32(h.count)
}

func (h *history) reindex(size int) {
	h.index = make([]uint32, size)
	position := uint32(0)
	for _, chunk := range h.chunks {
		for i := range chunk {
			position++
			h.index[h.slot(chunk[i].serial)] = position // the last one of a serial stays
		}
	}
}

// slot returns where in the index a serial stands, or where it would.
func (h *history) slot(serial [certs.MaxSerialOctets]byte) uint64 {
	mask := uint64(len(h.index) - 1)
	slot := maphash.Bytes(h.seed, serial[:]) & mask
	for r := h.at(slot); r != nil && r.serial != serial; r = h.at(slot) {
		slot = (slot + 1) & mask
	}
	return slot
}

// at returns the record that a slot of the index names, nil for an empty one.
func (h *history) at(slot uint64) *record {
	if h.index[slot] == 0 {
		return nil
	}
	position := h.index[slot] - 1
	return &h.chunks[position/chunkRecords][position%chunkRecords]
}

// last returns the last record of a serial, which may be a release.
func (h *history) last(serial [certs.MaxSerialOctets]byte) (record, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if r := h.at(h.slot(serial)); r != nil {
		return *r, true
	}
	return record{}, false
}

// lookup returns the record of a serial that is revoked or on hold.
func (h *history) lookup(serial [certs.MaxSerialOctets]byte) (record, bool) {
	r, ok := h.last(serial)
	return r, ok && r.refuses()
}

// newest returns the newest entry, and the latest time of any about a certificate.
func (h *history) newest() (head, uint32) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.head, h.latestAt
}

// forget drops records that expired before the given time, if they are worth the
// work. Lookups go on meanwhile.
func (h *history) forget(before time.Time) {
	limit := clampTime(before)
	v := h.view(math.MaxUint64)
	expired := 0
	for position := range v.count {
		if v.at(position).notAfter < limit {
			expired++
		}
	}
	if expired < chunkRecords || expired < v.count/4 {
		return
	}
	fresh := history{index: make([]uint32, minIndex), seed: h.seed}
	for position := range v.count {
		if r := v.at(position); r.notAfter >= limit {
			fresh.add(*r)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for position := v.count; position < h.count; position++ { // came meanwhile
		fresh.add(h.chunks[position/chunkRecords][position%chunkRecords])
	}
	h.chunks, h.count, h.index, h.links = fresh.chunks, fresh.count, fresh.index, fresh.links
	h.generation++
}

// view returns the history up to and including sequence. It does not change any more.
func (h *history) view(sequence uint64) view {
	h.mu.RLock()
	defer h.mu.RUnlock()
	v := view{chunks: slices.Clone(h.chunks), count: h.count, window: h.window, generation: h.generation}
	v.count = v.after(sequence)
	v.links = h.links[:sort.Search(len(h.links), func(i int) bool { return int(h.links[i].position) >= v.count })]
	ticks := sort.Search(len(h.ticks), func(i int) bool { return h.ticks[i].sequence > sequence })
	v.ticks = slices.Clone(h.ticks[:ticks])
	return v
}
