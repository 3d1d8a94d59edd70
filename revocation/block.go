package revocation

import (
	"math"
	"slices"
	"sort"

	"github.com/handfast/handfast/revocation/crl"
)

// blockEntries is how many entries a block has, at most: what a revocation copies, and what a
// release encodes anew.
const blockEntries = 2048

// block is a run of a CRL's encoded entries. It never changes, so that all CRLs from one
// publication to the next share what they have in common: a list of a million
// certificates is neither encoded nor copied nor held twice because of one more.
type block struct {
	positions []uint32 // of the records that the entries are about, in ascending order; never empty in a list
	der       []byte
	earliest  uint32 // of the entries' expiries
}

func newBlock() *block { return &block{earliest: math.MaxUint32} }

// blocks are the entries of one CRL, by position.
type blocks []*block

func (b blocks) pieces() [][]byte {
	pieces := make([][]byte, 0, len(b))
	for _, block := range b {
		pieces = append(pieces, block.der)
	}
	return pieces
}

func (b blocks) count() int {
	n := 0
	for _, block := range b {
		n += len(block.positions)
	}
	return n
}

// at returns the index of the block with the entry about the record at a position, -1 for none.
func (b blocks) at(position uint32) int {
	i := sort.Search(len(b), func(i int) bool { return b[i].positions[len(b[i].positions)-1] >= position })
	if i == len(b) {
		return -1
	}
	if _, found := slices.BinarySearch(b[i].positions, position); !found {
		return -1
	}
	return i
}

// encoder makes the blocks of one scope's full or delta CRL.
type encoder struct {
	edition   edition
	list      int // inFull or inDelta
	view      view
	overtaken bits
	positions []uint32 // in ascending order, of the scope's records that are news
}

// from returns the positions from one on.
func from(positions []uint32, first int) []uint32 {
	return positions[sort.Search(len(positions), func(i int) bool { return int(positions[i]) >= first }):]
}

// grown returns a block with b's entries and those about the records at positions. Records
// that another of the same serial overtook have none, and there may be other reasons; they need no
// place in the block, because they get none before everything is encoded anew.
func (c encoder) grown(b *block, positions []uint32) *block {
	size, count := 0, 0
	for _, position := range positions {
		if entry, ok := c.entry(position); ok {
			size += crl.EntrySize(entry)
			count++
		}
	}
	grown := &block{
		positions: append(make([]uint32, 0, len(b.positions)+count), b.positions...),
		der:       append(make([]byte, 0, len(b.der)+size), b.der...),
		earliest:  b.earliest,
	}
	for _, position := range positions {
		if entry, ok := c.entry(position); ok {
			grown.positions = append(grown.positions, position)
			grown.der = crl.AppendEntry(grown.der, entry)
			grown.earliest = min(grown.earliest, c.view.at(int(position)).notAfter)
		}
	}
	return grown
}

func (c encoder) entry(position uint32) (crl.Entry, bool) {
	if c.overtaken.has(int(position)) {
		return crl.Entry{}, false
	}
	return c.edition.entry(c.list, c.view.at(int(position)))
}

// pruned returns a block with those of b's entries whose records are not overtaken. They are not encoded
// anew: their records lie far apart, and a shard waits for it.
func (c encoder) pruned(b *block) *block {
	pruned := &block{
		positions: make([]uint32, 0, len(b.positions)), der: make([]byte, 0, len(b.der)), earliest: b.earliest,
	}
	rest := b.der
	for _, position := range b.positions {
		var entry []byte
		if entry, rest = crl.CutEntry(rest); !c.overtaken.has(int(position)) {
			pruned.positions, pruned.der = append(pruned.positions, position), append(pruned.der, entry...)
		}
	}
	return pruned
}

// extended returns b and the entries about the records at positions, which follow it.
func (c encoder) extended(b blocks, positions []uint32) blocks {
	for len(positions) > 0 {
		last := len(b) - 1
		if last < 0 || len(b[last].positions) >= blockEntries {
			b = append(b, newBlock())
			last++
		}
		n := min(blockEntries-len(b[last].positions), len(positions))
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
		if i := next.at(l.overtaken); i >= 0 {
			outdated[i] = true
		}
	}
	for i, b := range next {
		switch {
		case c.list == inFull && b.earliest < c.edition.rules.listedFrom:
			next[i] = c.grown(newBlock(), b.positions)
		case outdated[i]:
			next[i] = c.pruned(b)
		}
	}
	next = c.extended(next, from(c.positions, end))
	return slices.DeleteFunc(next, func(b *block) bool { return len(b.positions) == 0 })
}
