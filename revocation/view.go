package revocation

import "sort"

// view is an issuer's history up to one number: everything that the CRLs with that
// number say follows from it.
type view struct {
	chunks [][]record
	count  int
	links  []link
	ticks  []tick
	window uint32

	generation int // of the history's positions
}

// at returns the record at a position.
func (v view) at(position int) *record {
	return &v.chunks[position/chunkRecords][position%chunkRecords]
}

// after returns the position of the first record behind sequence.
func (v view) after(sequence uint64) int {
	return sort.Search(v.count, func(i int) bool { return v.at(i).sequence > sequence })
}

// linksFrom returns the links of records from position on.
func (v view) linksFrom(position int) []link {
	return v.links[sort.Search(len(v.links), func(i int) bool { return int(v.links[i].position) >= position }):]
}

// bits is a set of positions; nil is the empty one.
type bits []uint64

func (b bits) has(position int) bool {
	return b != nil && b[position/64]>>(position%64)&1 == 1
}

// overtaken are the records that are not their serial's last in this view.
func (v view) overtaken() bits {
	if len(v.links) == 0 {
		return nil
	}
	set := make(bits, v.count/64+1)
	for _, l := range v.links {
		set[l.overtaken/64] |= 1 << (l.overtaken % 64)
	}
	return set
}

// tick is the newest one, zero when there is none yet.
func (v view) tick() tick {
	if len(v.ticks) == 0 {
		return tick{}
	}
	return v.ticks[len(v.ticks)-1]
}

// listedFrom returns the expiry before which certificates are no longer listed, as of
// the tick at position k. A certificate stays listed through one CRL published past
// its expiry (RFC 5280, section 3.3). It stays through two ticks here, because the
// process may have died between writing the tick and publishing; and the earliest of
// three times counts, so that a clock that once ran ahead cannot drop what has not expired.
func (v view) listedFrom(k int) uint32 {
	if k < 2 {
		return 0
	}
	return min(v.ticks[k].at, v.ticks[k-1].at, v.ticks[k-2].at)
}

// base returns the position among the ticks of the delta CRL's base: the oldest within
// the window before the newest tick, else the one before the newest.
func (v view) base() int {
	newest := len(v.ticks) - 1
	for k := range newest {
		if v.ticks[k].at+v.window >= v.ticks[newest].at {
			return k
		}
	}
	return max(newest-1, 0)
}

// rules say what a CRL lists, as of a view's newest tick.
type rules struct {
	listedFrom     uint32 // the full CRL lists what expires at this time or later
	base           uint64 // number of the delta CRL's base
	baseListedFrom uint32
}

func (v view) rules() rules {
	if len(v.ticks) == 0 {
		return rules{}
	}
	base := v.base()
	return rules{
		listedFrom: v.listedFrom(len(v.ticks) - 1),
		base:       v.ticks[base].sequence, baseListedFrom: v.listedFrom(base),
	}
}

// listed reports whether the full CRL lists a certificate whose last record is r.
func (u rules) listed(r *record) bool { return r.refuses() && r.notAfter >= u.listedFrom }

// change is what a delta CRL says about a certificate.
type change uint8

const (
	unchanged change = iota
	added
	removed // expired or released since the base (removeFromCRL; RFC 5280, section 5.2.4)
)

// change compares the full CRL with the base; r is the certificate's last record. A
// release since the base removes also what was put on hold after it: the delta completes
// every full CRL since its base, and one in between may list it (RFC 5280, section
// 5.2.4: it MUST be listed).
func (u rules) change(r *record) change {
	current := r.notAfter >= u.baseListedFrom // may stand in the base or in a full CRL since
	since := r.sequence > u.base
	switch {
	case u.listed(r) && (since || !current):
		return added
	case r.refuses() && !u.listed(r) && current, !r.refuses() && since && current:
		return removed
	}
	return unchanged
}
