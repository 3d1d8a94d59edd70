package feed

import (
	"slices"
	"testing"
	"time"
)

// falsePositive is a snapshot at 10 that holds the hash of issuerA's serial 9 for the sake of another certificate.
func falsePositive(t testing.TB) *View {
	t.Helper()
	v := apply(t, nil, snapshot(10, 0, 1, 9))
	if finding, found := v.Find(issuerA, serial(9)); !found || finding.Exact {
		t.Fatal("the hash has to be found")
	}
	return v
}

// fill makes v fold, with changes of other certificates.
func fill(t testing.TB, v *View, second int) *View {
	t.Helper()
	var entries []Entry
	from := v.Sequence()
	for n := range uint64(maxOverlay + 1) {
		entries = append(entries, entry(from+n+1, Revoked, 1_000_000+from+n))
	}
	next := apply(t, v, statement(from, from+maxOverlay+1, second, entries...))
	if next.setAt <= v.setAt {
		t.Fatal("nothing was folded")
	}
	return next
}

// An exception hides a hash, but nothing that the feed says of the certificate later.
func TestExcept(t *testing.T) {
	refused := func(v *View) bool {
		_, found := v.Find(issuerA, serial(9))
		return found
	}
	v := falsePositive(t)
	excepted := v.Except(issuerA, serial(9), 10)
	if refused(excepted) || !refused(v) {
		t.Error("the exception has to be in the new view alone")
	}
	if _, found := excepted.Find(issuerA, serial(1)); !found {
		t.Error("another certificate went with it")
	}
	if folded := fill(t, excepted, 5); refused(folded) {
		t.Error("folding lost the exception")
	} else if again := fill(t, folded, 10); refused(again) {
		t.Error("folding twice lost the exception")
	} else if !folded.set.Has(Hash(issuerA, serial(9))) {
		t.Error("folding took the hash from the one whose it is")
	}
	held := apply(t, excepted, statement(10, 11, 5, entry(11, Held, 9)))
	if !refused(held) || !refused(fill(t, held, 10)) {
		t.Error("a hold after the exception does not count")
	}
	released := apply(t, held, statement(11, 12, 10, entry(12, Released, 9)))
	if refused(released) {
		t.Error("a release after the hold does not count")
	}
	if refused(released.Except(issuerA, serial(9), 12)) || released.Except(issuerA, serial(9), 12) != released {
		t.Error("what is not found needs no exception")
	}
	if again := held.Except(issuerA, serial(9), 99); again != held {
		t.Error("an exception went before an exact entry")
	}
	if stale := v.Except(issuerA, serial(9), 9); stale != v {
		t.Error("an answer from before the set was made counts")
	}
	if later := apply(t, excepted, snapshot(20, 20, 1, 9)); !refused(later) {
		t.Error("an exception outlived its snapshot: the certificate may have been revoked since")
	}
}

func TestExceptionsAreBounded(t *testing.T) {
	v := falsePositive(t)
	items := make([]item, 0, maxExceptions+10)
	for n := range uint64(maxExceptions + 10) {
		items = append(items, item{hash: Hash(issuerB, serial(n)), Entry: Entry{Sequence: n, Kind: excepted, Issuer: issuerB, Serial: serial(n)}})
	}
	_, left := v.overlay.add(items).fold(v.set, testNow)
	if left.size() != maxExceptions {
		t.Errorf("%d exceptions", left.size())
	}
	for n := range uint64(maxExceptions + 10) {
		if kept := left.find(Hash(issuerB, serial(n)), issuerB, serial(n)) != nil; kept != (n >= 10) {
			t.Fatalf("exception %d is kept: %v", n, kept)
		}
	}
}

// Two certificates with one hash: what happens to one of them does not happen to the other.
func TestCertificatesWithTheSameHash(t *testing.T) {
	const hash = 42
	change := func(kind Kind, issuer string) item {
		return item{hash: hash, Entry: Entry{Kind: kind, Issuer: issuer, Serial: serial(1), NotAfter: testNow}}
	}
	for name, test := range map[string]struct {
		set     []uint64
		changes []item
		want    []uint64
	}{
		"one of two released":          {[]uint64{7, hash, hash, 99}, []item{change(Released, issuerA)}, []uint64{7, hash, 99}},
		"both released":                {[]uint64{7, hash, hash, 99}, []item{change(Released, issuerA), change(Released, issuerB)}, []uint64{7, 99}},
		"the other one held":           {[]uint64{hash}, []item{change(Held, issuerB)}, []uint64{hash, hash}},
		"the other one come and gone":  {[]uint64{hash}, []item{change(Held, issuerB), change(Released, issuerB)}, []uint64{hash}},
		"released and held again":      {[]uint64{hash}, []item{change(Released, issuerA), change(Held, issuerA)}, []uint64{hash}},
		"released, then revoked":       {[]uint64{hash}, []item{change(Released, issuerA), change(Revoked, issuerA)}, []uint64{hash}},
		"both new":                     {nil, []item{change(Revoked, issuerA), change(Held, issuerB)}, []uint64{hash, hash}},
		"released what is not there":   {[]uint64{7}, []item{change(Released, issuerA)}, []uint64{7}},
		"nothing":                      {[]uint64{7}, nil, []uint64{7}},
		"an exception keeps the other": {[]uint64{hash}, []item{change(excepted, issuerB)}, []uint64{hash}},
	} {
		for _, together := range []bool{true, false} {
			var o overlay
			if together {
				o = o.add(slices.Clone(test.changes))
			} else {
				for _, c := range test.changes {
					o = o.add([]item{c})
				}
			}
			set, _ := o.fold(NewSet(slices.Clone(test.set)), testNow.Add(-time.Hour))
			if got := slices.Collect(set.All()); !slices.Equal(got, test.want) || set.Len() != len(test.want) {
				t.Errorf("%s (together %v): %v, want %v", name, together, got, test.want)
			}
		}
	}
}

// What has expired for a day by the CA's clock goes when changes are folded; what has not stays.
func TestFoldingForgetsTheExpired(t *testing.T) {
	gone, live := entry(11, Revoked, 5), entry(12, Revoked, 6)
	gone.NotAfter, live.NotAfter = testNow.Add(-25*time.Hour), testNow.Add(-23*time.Hour)
	v := fill(t, apply(t, nil, snapshot(10, 0), statement(10, 12, 4, gone, live)), 8)
	for n, want := range map[uint64]bool{5: false, 6: true} {
		if _, found := v.Find(issuerA, serial(n)); found != want {
			t.Errorf("%d is found: %v", n, found)
		}
	}
}
