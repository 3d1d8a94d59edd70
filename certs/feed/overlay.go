package feed

import (
	"bytes"
	"cmp"
	"iter"
	"math"
	"slices"
	"time"
)

const (
	// maxOverlay is how many single changes a view keeps beside its set: about a megabyte.
	maxOverlay = 8192
	// maxExceptions is how many of them may be exceptions, which folding cannot dissolve.
	maxExceptions = 1024
)

// excepted is an item's kind: a full check said that the certificate is not revoked,
// although its hash is in the set.
const excepted Kind = math.MaxUint8

// item is the last that is known of one certificate since the set was made.
type item struct {
	hash uint64
	Entry
	inSet bool // the set counts the certificate itself: it was held when the set was made
}

func (i *item) same(issuer string, serial []byte) bool {
	return i.Issuer == issuer && bytes.Equal(i.Serial, serial)
}

// overlay is the changes since the set was made, in layers: a new statement adds one and merges it with those
// that are no larger, so that adding is cheap and finding looks at few. Each layer is sorted by hash and
// immutable; a later layer goes before an earlier one.
type overlay [][]item

func (o overlay) size() int {
	size := 0
	for _, layer := range o {
		size += len(layer)
	}
	return size
}

// find returns the last item of a certificate.
func (o overlay) find(hash uint64, issuer string, serial []byte) *item {
	for _, layer := range slices.Backward(o) {
		at, _ := slices.BinarySearchFunc(layer, hash, func(i item, hash uint64) int { return cmp.Compare(i.hash, hash) })
		for ; at < len(layer) && layer[at].hash == hash; at++ {
			if layer[at].same(issuer, serial) {
				return &layer[at]
			}
		}
	}
	return nil
}

// add returns o with the later items on top of it. They are in the order of their happening.
func (o overlay) add(items []item) overlay {
	for i := range items {
		// Only what was held can be released: a certificate whose first change is its release is in the set.
		items[i].inSet = items[i].Kind == Released
	}
	return o.put(items)
}

// put is add for items that know whether they are in the set.
func (o overlay) put(items []item) overlay {
	if len(items) == 0 {
		return o
	}
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(a.hash, b.hash) })
	top := merge(nil, items)
	below := slices.Clone(o)
	for len(below) > 0 && len(below[len(below)-1]) <= 2*len(top) {
		top = merge(below[len(below)-1], top)
		below = below[:len(below)-1]
	}
	return append(below, top)
}

// merge merges two layers; of one certificate the item that comes last stays, and what its
// first one knew of the set. later may hold several of one certificate.
func merge(earlier, later []item) []item {
	merged := make([]item, 0, len(earlier)+len(later))
	for len(earlier) > 0 || len(later) > 0 {
		var next item
		if len(later) == 0 || len(earlier) > 0 && earlier[0].hash <= later[0].hash {
			next, earlier = earlier[0], earlier[1:]
		} else {
			next, later = later[0], later[1:]
		}
		replaced := false
		for i := len(merged) - 1; i >= 0 && merged[i].hash == next.hash && !replaced; i-- {
			if replaced = merged[i].same(next.Issuer, next.Serial); replaced {
				next.inSet = merged[i].inSet
				merged[i] = next
			}
		}
		if !replaced {
			merged = append(merged, next)
		}
	}
	return merged
}

// flat returns one layer with everything.
func (o overlay) flat() []item {
	var all []item
	for _, layer := range o {
		all = merge(all, layer)
	}
	return all
}

// fold puts the changes into a set. Certificates that expired before expired are left out: nobody accepts them
// any more. What remains are the exceptions, the latest ones if there are too many: their hashes have
// to stay in the set, for the sake of whose they are.
func (o overlay) fold(set *Set, expired time.Time) (*Set, overlay) {
	var add, remove []uint64
	var exceptions []item
	for _, i := range o.flat() {
		listed := i.Kind == Revoked || i.Kind == Held
		switch {
		case i.Kind == excepted:
			exceptions = append(exceptions, i)
		case i.inSet && (!listed || i.NotAfter.Before(expired)):
			remove = append(remove, i.hash)
		case !i.inSet && listed && !i.NotAfter.Before(expired):
			add = append(add, i.hash)
		}
	}
	if extra := len(exceptions) - maxExceptions; extra > 0 {
		slices.SortFunc(exceptions, func(a, b item) int { return cmp.Compare(a.Sequence, b.Sequence) })
		exceptions = slices.Delete(exceptions, 0, extra)
		slices.SortFunc(exceptions, func(a, b item) int { return cmp.Compare(a.hash, b.hash) })
	}
	if len(add) > 0 || len(remove) > 0 {
		count := set.Len() + len(add) - len(remove)
		for i, hash := range remove { // one that is not there does not count
			if i == 0 || remove[i-1] != hash {
				n := 1
				for i+n < len(remove) && remove[i+n] == hash {
					n++
				}
				count += max(n-set.times(hash), 0)
			}
		}
		set = encodeSet(count, changed(set, add, remove))
	}
	if len(exceptions) == 0 {
		return set, nil
	}
	return set, overlay{exceptions}
}

// changed gives set's elements with these sorted ones added, and each of remove left out once.
func changed(set *Set, add, remove []uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for hash := range set.All() {
			for len(remove) > 0 && remove[0] < hash {
				remove = remove[1:]
			}
			if len(remove) > 0 && remove[0] == hash {
				remove = remove[1:]
				continue
			}
			for ; len(add) > 0 && add[0] <= hash; add = add[1:] {
				if !yield(add[0]) {
					return
				}
			}
			if !yield(hash) {
				return
			}
		}
		for _, hash := range add {
			if !yield(hash) {
				return
			}
		}
	}
}
