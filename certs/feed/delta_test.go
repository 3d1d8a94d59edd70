package feed

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/internal/der"
)

func marshal(t testing.TB, v *View) []byte {
	t.Helper()
	raw, err := v.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Over random statements, exceptions, snapshots and folds: a holder that follows by deltas, taken whole where there is none,
// has what the one it follows has, however seldom it asks.
func TestDeltasLeadToTheSameView(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 24 {
		v := apply(t, nil, snapshot(1, 0, 1, 2, 3, 4, 5))
		copied, err := ParseView(marshal(t, v))
		if err != nil {
			t.Fatal(err)
		}
		seen, whole := v, 0
		for step := range 120 {
			switch at, second := v.Sequence(), step+1; random.IntN(12) {
			case 0:
				v = apply(t, v, snapshot(at, second, random.Uint64N(20), random.Uint64N(20)))
			case 1, 2:
				v = v.Except(issuerA, serial(random.Uint64N(20)), at+random.Uint64N(3))
			case 3:
				v = apply(t, v, statement(at, at, second))
			case 4:
				if round%6 == 0 { // more than a view keeps single
					var many []Entry
					for n := range uint64(maxOverlay/2 + 1) {
						many = append(many, entry(at+n+1, Revoked, 1000+n+at))
					}
					v = apply(t, v, statement(at, at+uint64(len(many)), second, many...))
				}
			default:
				kind := []Kind{Revoked, Held, Released}[random.IntN(3)]
				v = apply(t, v, statement(at, at+1, second, entry(at+1, kind, random.Uint64N(20))))
			}
			if random.IntN(3) > 0 {
				continue
			}
			if delta := v.Delta(seen); delta == nil {
				whole++
				copied, err = ParseView(marshal(t, v))
			} else {
				copied, err = copied.Patch(delta)
			}
			if err != nil {
				t.Fatal(err)
			}
			seen = v
			if !bytes.Equal(marshal(t, copied), marshal(t, v)) {
				t.Fatalf("round %d, step %d: the copy differs", round, step)
			}
		}
		if whole > 40 {
			t.Errorf("round %d: taken whole %d times", round, whole)
		}
	}
}

// When folding drops what nobody needs, the set stays as it is, and yet earlier views are no base any more.
func TestAFoldIsAnotherBase(t *testing.T) {
	before := apply(t, nil, snapshot(1, 0, 1))
	var gone []Entry
	for n := range uint64(maxOverlay + 1) {
		e := entry(n+2, Revoked, 100+n)
		e.NotAfter = testNow.Add(-48 * time.Hour)
		gone = append(gone, e)
	}
	after := apply(t, before, statement(1, uint64(len(gone))+1, 1, gone...))
	if after.overlay.size() != 0 || after.set.Len() != 1 {
		t.Fatalf("not folded: %d changes, %d in the set", after.overlay.size(), after.set.Len())
	}
	if after.Delta(before) != nil {
		t.Error("a delta over a fold")
	}
}

func TestDeltaOfFreshnessIsSmall(t *testing.T) {
	v := apply(t, nil, snapshot(1, 0, 1, 2, 3))
	for n := range uint64(1000) {
		v = apply(t, v, statement(n+1, n+2, 1, entry(n+2, Revoked, n)))
	}
	later := apply(t, v, statement(v.Sequence(), v.Sequence(), 5))
	if delta := later.Delta(v); delta == nil || len(delta) > 400 {
		t.Errorf("%d bytes", len(delta))
	}
	if v.Delta(later) != nil && v.Sequence() < later.Sequence() {
		t.Error("a delta that goes back")
	}
}

func TestPatchRefuses(t *testing.T) {
	base := apply(t, nil, snapshot(5, 0, 1, 2, 3))
	next := apply(t, base, statement(5, 6, 3, entry(6, Revoked, 9)))
	good := next.Delta(base)
	encode := func(change func(later *View)) []byte {
		later := *next
		later.overlay = overlay{next.overlay.flat()}
		change(&later)
		return later.Delta(base)
	}
	for name, delta := range map[string][]byte{
		"empty":                       nil,
		"cut off":                     good[:len(good)-1],
		"something behind":            append(bytes.Clone(good), 0),
		"another version":             der.Append(nil, der.Sequence, der.AppendUint(nil, 2)),
		"no validity":                 encode(func(v *View) { v.nextUpdate = v.signedAt }),
		"dated before":                encode(func(v *View) { v.signedAt = base.signedAt.Add(-time.Second) }),
		"a change from the future":    encode(func(v *View) { v.overlay[0][0].Sequence = 7 }),
		"a change without serial":     encode(func(v *View) { v.overlay[0][0].Serial = nil }),
		"a change of a kind never is": encode(func(v *View) { v.overlay[0][0].Kind = 9 }),
		"over the size":               make([]byte, maxDeltaSize+1),
	} {
		if v, err := base.Patch(delta); err == nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
	others := map[string]*View{"nothing": nil, "itself": next, "another position": apply(t, nil, snapshot(4, 0, 1, 2, 3)), "another set": apply(t, nil, snapshot(5, 0, 1, 2))}
	for name, other := range others {
		if _, err := other.Patch(good); !errors.Is(err, ErrBase) {
			t.Errorf("to %s: %v", name, err)
		}
	}
	if next.Delta(nil) != nil || (*View)(nil).Delta(base) != nil || base.Delta(next) != nil {
		t.Error("a delta of nothing, or backwards")
	}
}

// FuzzPatch: what is accepted keeps to what every view keeps to.
func FuzzPatch(f *testing.F) {
	base := apply(f, nil, snapshot(5, 0, 1, 2, 3)).Except(issuerA, serial(1), 5)
	f.Add(apply(f, base, statement(5, 6, 3, entry(6, Revoked, 9))).Delta(base))
	f.Add(apply(f, base, statement(5, 5, 3)).Delta(base))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := base.Patch(data)
		if err != nil {
			return
		}
		if v.Sequence() < base.Sequence() || v.SignedAt().Before(base.SignedAt()) {
			t.Fatal("it went back")
		}
		again, err := ParseView(marshal(t, v))
		if err != nil {
			t.Fatalf("what was accepted is not what a view is: %v", err)
		}
		if again.Len() != v.Len() {
			t.Fatal("written and read again it differs")
		}
	})
}
