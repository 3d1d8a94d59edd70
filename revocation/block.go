package revocation

import (
	"math"
	"slices"
	"sort"

	"github.com/handfast/handfast/revocation/crl"
)

// blockRecords is how many records a block is about: what a revocation copies, and what a
// release encodes anew.
const blockRecords = 4096

// block is a run of a CRL's encoded entries. It never changes, so that all CRLs from one
// publication to the next share what they have in common: a list of a million
// certificates is neither encoded nor copied nor held twice because of one more.
type block struct {
	first, end int // it is about all of a scope's records from one position to before another
	records    int // how many those are, or were
	der        []byte
	count      int    // of entries
	earliest   uint32 // of the entries' expiries
}

func newBlock(first, end int) *block { return &block{first: first, end: end, earliest: math.MaxUint32} }

// blocks are the entries of one CRL, by position.
type blocks []*block

func (b blocks) pieces() [][]byte {
	pieces := make([][]byte, 0, len(b))
	for _, block := range b {
		if len(block.der) > 0 {
			pieces = append(pieces, block.der)
		}
	}
	return pieces
}

func (b blocks) count() int {
	n := 0
	for _, block := range b {
		n += block.count
	}
	return n
}

// at returns the index of the block that a position belongs to, -1 for none.
func (b blocks) at(position int) int {
	i := sort.Search(len(b), func(i int) bool { return b[i].end > position })
	if i == len(b) || b[i].first > position {
		return -1
	}
	return i
}

// encoder makes the blocks of one scope's full or delta CRL.
type encoder struct {
	edition   edition
	list      int // inFull or inDelta
	view      view
	positions positions
}

// positions are where a scope's records stand in a view: all, or those from start on. Records
// that another of the same serial overtook are not among them.
type positions struct {
	start   int
	sorted  []uint32
	belongs func(position int) bool
}

// from returns those from position on, or from start on if that is later.
func (p positions) from(position int) []uint32 {
	i := sort.Search(len(p.sorted), func(i int) bool { return int(p.sorted[i]) >= position })
	return p.sorted[i:]
}

// within returns those from first to end, also below start.
func (p positions) within(first, end int) []uint32 {
	if first >= p.start {
		rest := p.from(first)
		return rest[:sort.Search(len(rest), func(i int) bool { return int(rest[i]) >= end })]
	}
	var found []uint32
	for position := first; position < end; position++ {
		if p.belongs(position) {
			found = append(found, uint32(position))
		}
	}
	return found
}

// grown returns a block with b's entries and those about the records at positions.
func (c encoder) grown(b *block, positions []uint32) *block {
	grown := *b
	grown.records += len(positions)
	size := 0
	for _, position := range positions {
		if entry, ok := c.edition.entry(c.list, c.view.at(int(position))); ok {
			size += crl.EntrySize(entry)
			grown.count++
		}
	}
	grown.der = append(make([]byte, 0, len(b.der)+size), b.der...)
	for _, position := range positions {
		r := c.view.at(int(position))
		if entry, ok := c.edition.entry(c.list, r); ok {
			grown.der = crl.AppendEntry(grown.der, entry)
			grown.earliest = min(grown.earliest, r.notAfter)
		}
		grown.end = max(grown.end, int(position)+1)
	}
	return &grown
}

// again encodes block i anew.
func (c encoder) again(b blocks, i int) {
	b[i] = c.grown(newBlock(b[i].first, b[i].end), c.positions.within(b[i].first, b[i].end))
}

// extended returns b and the records at positions, which follow it.
func (c encoder) extended(b blocks, positions []uint32) blocks {
	for len(positions) > 0 {
		last := len(b) - 1
		if last < 0 || b[last].records >= blockRecords {
			first := int(positions[0])
			b = append(b, newBlock(first, first))
			last++
		}
		n := min(blockRecords-b[last].records, len(positions))
		b[last] = c.grown(b[last], positions[:n])
		positions = positions[n:]
	}
	return b
}

// next returns the blocks of the next list, from those of the one before, which told of
// the records before end. What they told may be outdated for two reasons: another record
// of the same serial came since, or the certificate expired.
func (c encoder) next(old blocks, end int) blocks {
	next := slices.Clone(old)
	outdated := make(map[int]bool)
	for _, l := range c.view.linksFrom(end) {
		if i := next.at(int(l.overtaken)); i >= 0 && int(l.overtaken) < end {
			outdated[i] = true
		}
	}
	for i, b := range next {
		if outdated[i] || c.list == inFull && b.earliest < c.edition.rules.listedFrom {
			c.again(next, i)
		}
	}
	return c.extended(next, c.positions.from(end))
}
