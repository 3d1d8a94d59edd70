package feed

import "slices"

// sortHashes sorts in place. Hashes are spread evenly, so two or three passes by their first octets leave
// little to compare: several times faster for the millions that a CA puts into a snapshot.
func sortHashes(hashes []uint64) { sortByOctet(hashes, 56) }

// sortByOctet sorts hashes that are equal above the octet at shift.
func sortByOctet(hashes []uint64, shift uint) {
	const few = 256 // as many as there are buckets
	if len(hashes) <= few || shift == 0 {
		slices.Sort(hashes)
		return
	}
	var ends, next [256]int // of each bucket, and where in it the first element stands that is not in its place yet
	for _, hash := range hashes {
		ends[byte(hash>>shift)]++
	}
	for i, at := 0, 0; i < len(ends); i++ {
		next[i] = at
		at += ends[i]
		ends[i] = at
	}
	for bucket, end := range ends {
		for next[bucket] < end {
			hash := hashes[next[bucket]]
			for home := byte(hash >> shift); int(home) != bucket; home = byte(hash >> shift) {
				hashes[next[home]], hash = hash, hashes[next[home]]
				next[home]++
			}
			hashes[next[bucket]] = hash
			next[bucket]++
		}
	}
	begin := 0
	for _, end := range ends {
		sortByOctet(hashes[begin:end], shift-8)
		begin = end
	}
}
