package feed

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/internal/der"
)

func richView(t testing.TB) *View {
	t.Helper()
	v := falsePositive(t).Except(issuerA, serial(9), 10)
	return apply(t, v, statement(10, 14, 5, entry(11, Released, 1), entry(12, Held, 3), entry(13, Revoked, 4), entry(14, Revoked, 1)))
}

func TestViewRoundTrip(t *testing.T) {
	for name, v := range map[string]*View{"rich": richView(t), "a snapshot": apply(t, nil, snapshot(3, 0, 1, 2)), "empty": apply(t, nil, snapshot(0, 0))} {
		raw, err := v.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseView(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := got.MarshalBinary()
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%s: encoded again it differs (%v)", name, err)
		}
		if got.TrustDomain() != testDomain || got.Sequence() != v.Sequence() || !got.SignedAt().Equal(v.SignedAt()) || !got.NextUpdate().Equal(v.NextUpdate()) ||
			!got.Based().Equal(v.Based()) || !reflect.DeepEqual(got.Versions(), v.Versions()) || !reflect.DeepEqual(got.Issuers(), v.Issuers()) || got.Len() != v.Len() || got.setAt != v.setAt {
			t.Errorf("%s: %+v, want %+v", name, got, v)
		}
		for n := range uint64(12) {
			a, foundA := v.Find(issuerA, serial(n))
			b, foundB := got.Find(issuerA, serial(n))
			if a != b || foundA != foundB {
				t.Errorf("%s, %d: %v %+v, then %v %+v", name, n, foundA, a, foundB, b)
			}
		}
	}
}

func TestParseViewRefuses(t *testing.T) {
	good := richView(t)
	encode := func(change func(*View)) []byte {
		v := *good
		v.overlay = overlay{good.overlay.flat()}
		change(&v)
		raw, err := v.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	sound := encode(func(*View) {})
	if _, err := ParseView(sound); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"empty":                   nil,
		"cut off":                 sound[:len(sound)-1],
		"something behind":        append(bytes.Clone(sound), 0),
		"another version":         der.Append(nil, der.Sequence, der.AppendUint(nil, 2)),
		"no domain":               encode(func(v *View) { v.domain = "" }),
		"a set from the future":   encode(func(v *View) { v.setAt = v.sequence + 1 }),
		"based on the future":     encode(func(v *View) { v.based = v.signedAt.Add(time.Second) }),
		"no validity":             encode(func(v *View) { v.nextUpdate = v.signedAt }),
		"changes not sorted":      encode(func(v *View) { v.overlay[0][0], v.overlay[0][1] = v.overlay[0][1], v.overlay[0][0] }),
		"a change twice":          encode(func(v *View) { v.overlay[0] = append([]item{v.overlay[0][0]}, v.overlay[0]...) }),
		"a change without serial": encode(func(v *View) { v.overlay[0][0].Serial = nil }),
		"a change of kind 9":      encode(func(v *View) { v.overlay[0][0].Kind = 9 }),
		"too many changes":        encode(func(v *View) { v.overlay = overlay{make([]item, maxOverlay+1)} }),
	} {
		// merge makes what is doubled single again, so encode what a forger would.
		if name == "a change twice" {
			raw = doubled(t, good)
		}
		if v, err := ParseView(raw); err == nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if _, err := ParseView(make([]byte, maxViewSize+1)); err == nil {
		t.Error("over the size")
	}
}

// doubled is v's encoding with its first change written twice.
func doubled(t *testing.T, v *View) []byte {
	t.Helper()
	raw, err := v.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	first := v.overlay.flat()[0]
	one := first.append(nil)
	at := bytes.Index(raw, one)
	var items []byte
	for _, i := range v.overlay.flat() {
		items = i.append(items)
	}
	header := len(der.Append(nil, der.Sequence, items)) - len(items)
	outer := der.Value(raw)
	content, _, err := outer.Read(der.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	front := content[:at-header-(len(raw)-len(content))]
	behind := raw[at+len(items):]
	return der.Append(nil, der.Sequence, front, der.Append(nil, der.Sequence, one, items), behind)
}

// FuzzParseView: what is accepted is encoded to what is accepted again and says the same, and goes on.
func FuzzParseView(f *testing.F) {
	for _, v := range []*View{richView(f), apply(f, nil, snapshot(0, 0))} {
		raw, err := v.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := ParseView(data)
		if err != nil {
			return
		}
		raw, err := v.MarshalBinary()
		if err != nil || !bytes.Equal(raw, data) {
			t.Fatalf("encoded again it differs: %v", err)
		}
		next := statement(v.Sequence(), v.Sequence()+1, 0, entry(v.Sequence()+1, Revoked, 3))
		next.TrustDomain, next.SignedAt, next.NextUpdate = v.TrustDomain(), v.SignedAt(), v.SignedAt().Add(time.Hour)
		later, err := v.Apply(next, v.SignedAt())
		if err != nil {
			return // at the end of what a position can be
		}
		if finding, found := later.Find(issuerA, serial(3)); !found || !finding.Exact {
			t.Fatal("the next entry was lost")
		}
	})
}
