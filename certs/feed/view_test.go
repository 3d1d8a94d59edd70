package feed

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Nobody in between can cut out, repeat, reorder or hold back statements.
func TestApplyRefuses(t *testing.T) {
	held := apply(t, nil, snapshot(10, 0, 1, 2))
	foreign := statement(10, 11, 1)
	foreign.TrustDomain = "other.test"
	for name, test := range map[string]struct {
		view  *View
		s     *Statement
		clock time.Duration // after the statement was signed
		want  error
	}{
		"a heartbeat":                          {held, statement(10, 10, 5), 0, nil},
		"news":                                 {held, statement(10, 12, 5, entry(12, Revoked, 7)), 0, nil},
		"news from before the position":        {held, statement(4, 12, 5, entry(9, Revoked, 7), entry(12, Revoked, 8)), 0, nil},
		"a later snapshot":                     {held, snapshot(20, 5), 0, nil},
		"a snapshot of the same position":      {held, snapshot(10, 5, 1, 2), 0, nil},
		"signed at nearly the same time":       {held, statement(10, 12, -2), 0, nil},
		"our clock is a little behind":         {held, statement(10, 10, 5), -5 * time.Minute, nil},
		"the last moment":                      {held, statement(10, 10, 5), time.Hour, nil},
		"a gap: something was cut out":         {held, statement(11, 12, 5, entry(12, Revoked, 7)), 0, ErrGap},
		"a heartbeat from further on":          {held, statement(11, 11, 5), 0, ErrGap},
		"no snapshot first":                    {nil, statement(0, 1, 5, entry(1, Revoked, 7)), 0, ErrGap},
		"a heartbeat first":                    {nil, statement(0, 0, 5), 0, ErrGap},
		"replayed: an earlier position":        {held, statement(3, 9, 5), 0, ErrReplayed},
		"replayed: an earlier snapshot":        {held, snapshot(9, 5), 0, ErrReplayed},
		"replayed: an earlier heartbeat":       {held, statement(10, 10, -3), 0, ErrReplayed},
		"replayed: news with an earlier date":  {held, statement(10, 12, -3, entry(12, Released, 1)), 0, ErrReplayed},
		"another trust domain":                 {held, foreign, 0, ErrDomain},
		"from the future":                      {held, statement(10, 10, 5), -5*time.Minute - 1, ErrFuture},
		"a first one from the future":          {nil, snapshot(1, 5), -time.Hour, ErrFuture},
		"held back until it was past its time": {held, statement(10, 10, 5), time.Hour + 1, ErrStale},
		"a snapshot that is too old":           {nil, snapshot(10, 5), 2 * time.Hour, ErrStale},
	} {
		next, err := test.view.Apply(test.s, test.s.SignedAt.Add(test.clock))
		if (err == nil) != (test.want == nil) || test.want != nil && !errors.Is(err, test.want) || (next == nil) != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && next.Sequence() != test.s.To {
			t.Errorf("%s: it stands at %d", name, next.Sequence())
		}
	}
	if held.Sequence() != 10 || held.Len() != 2 {
		t.Error("the view changed")
	}
}

// A stream whose statements were swapped, or from which any one was taken, does not arrive.
func TestReorderedAndTruncatedStreams(t *testing.T) {
	stream := []*Statement{snapshot(5, 0), statement(5, 6, 4, entry(6, Held, 1)), statement(6, 6, 8), statement(6, 8, 12, entry(8, Released, 1)), statement(8, 9, 16, entry(9, Revoked, 1))}
	end := stream[len(stream)-1].SignedAt
	arrives := func(stream []*Statement) (v *View, err error) {
		for _, s := range stream {
			if v, err = v.Apply(s, end); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	if v, err := arrives(stream); err != nil || v.Sequence() != 9 {
		t.Fatal(err)
	}
	for i := range stream {
		if i == 2 || i == len(stream)-1 {
			continue // without a heartbeat or the end nothing is missing yet: silence shows by Fresh
		}
		if _, err := arrives(slices.Delete(slices.Clone(stream), i, i+1)); !errors.Is(err, ErrGap) {
			t.Errorf("without statement %d: %v", i, err)
		}
		for j := i + 1; j < len(stream); j++ {
			swapped := slices.Clone(stream)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			if _, err := arrives(swapped); !errors.Is(err, ErrGap) && !errors.Is(err, ErrReplayed) {
				t.Errorf("%d and %d swapped: %v", i, j, err)
			}
		}
	}
}

// Two statements that were signed at once may overtake each other, but the header does not go back.
func TestHeaderDoesNotGoBack(t *testing.T) {
	newer, older := statement(10, 10, 5), statement(10, 11, 4, entry(11, Revoked, 3))
	older.Versions, older.Issuers = []Version{{"policy", "6"}}, nil
	v := apply(t, nil, snapshot(10, 0), newer, older)
	if !v.SignedAt().Equal(newer.SignedAt) || !v.NextUpdate().Equal(newer.NextUpdate) || v.Version("policy") != "7" || !v.Covers(issuerA) {
		t.Errorf("%+v", v)
	}
	if _, found := v.Find(issuerA, serial(3)); !found || v.Sequence() != 11 {
		t.Error("its entry was lost")
	}
}

func TestFresh(t *testing.T) {
	v := apply(t, nil, snapshot(10, 0))
	for _, test := range []struct {
		after, silence time.Duration
		want           error
	}{
		{0, 0, nil}, {time.Hour, 0, nil}, {time.Hour + 1, 0, ErrStale},
		{time.Minute, time.Minute, nil}, {time.Minute + 1, time.Minute, ErrStale},
		{time.Hour + 1, 2 * time.Hour, ErrStale}, // never past its nextUpdate
		{-5 * time.Minute, 0, nil}, {-5*time.Minute - 1, 0, ErrFuture},
	} {
		if err := v.Fresh(testNow.Add(test.after), test.silence); !errors.Is(err, test.want) {
			t.Errorf("%v after, silence of %v: %v", test.after, test.silence, err)
		}
	}
	if err := (*View)(nil).Fresh(testNow, 0); !errors.Is(err, ErrStale) {
		t.Errorf("a nil view: %v", err)
	}
	if !v.Until(time.Minute).Equal(testNow.Add(time.Minute)) || !v.Until(0).Equal(v.NextUpdate()) {
		t.Error("Until is not when Fresh fails")
	}
}

func TestNilViewKnowsNothing(t *testing.T) {
	var v *View
	if _, found := v.Find(issuerA, serial(1)); found || v.Sequence() != 0 || v.Covers(issuerA) || v.Len() != 0 || v.Version("policy") != "" || v.Except(issuerA, serial(1), 9) != nil || !v.Until(0).IsZero() {
		t.Error("a nil view knows something")
	}
	if _, err := v.MarshalBinary(); err == nil {
		t.Error("a nil view was encoded")
	}
}

func TestFindings(t *testing.T) {
	v := apply(t, nil, snapshot(10, 0, 1, 2), statement(10, 14, 5, entry(11, Released, 1), entry(12, Held, 3), entry(13, Revoked, 4), entry(14, Revoked, 2)))
	for n, want := range map[uint64]*Finding{
		1: nil,
		2: {Exact: true, Reason: 1, At: testNow.Add(-time.Minute), Sequence: 14},
		3: {Exact: true, Held: true, Reason: 1, At: testNow.Add(-time.Minute), Sequence: 12},
		4: {Exact: true, Reason: 1, At: testNow.Add(-time.Minute), Sequence: 13},
		5: nil,
	} {
		got, found := v.Find(issuerA, serial(n))
		if found != (want != nil) || found && got != *want {
			t.Errorf("%d: %v %+v", n, found, got)
		}
		if _, found := v.Find(issuerB, serial(n)); found {
			t.Errorf("%d of the other issuer was found", n)
		}
	}
	if v := apply(t, nil, snapshot(10, 0, 1)); true {
		if got, found := v.Find(issuerA, serial(1)); !found || got.Exact {
			t.Errorf("from the set: %v %+v", found, got)
		}
	}
}

// Holds, releases and revocations over a set, over many foldings, in random order: a view agrees with a map at
// each step, in memory and read again.
func TestViewAgreesWithANaiveModel(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 5))
	const serials = 24_000
	state := make(map[uint64]Kind)
	var initial []uint64
	for n := range uint64(serials) {
		if random.IntN(3) == 0 {
			initial = append(initial, n)
			state[n] = []Kind{Held, Revoked}[random.IntN(2)]
		}
	}
	v := apply(t, nil, snapshot(1, 0, initial...))
	sequence := uint64(1)
	for round := range 30 {
		from := sequence
		var entries []Entry
		for range random.IntN(2000) {
			n := random.Uint64N(serials)
			var kind Kind
			switch state[n] {
			case Revoked:
				continue
			case Held:
				kind = []Kind{Released, Released, Revoked}[random.IntN(3)]
			default:
				kind = []Kind{Held, Held, Revoked}[random.IntN(3)]
			}
			state[n] = kind
			sequence += 1 + random.Uint64N(3)
			entries = append(entries, entry(sequence, kind, n))
		}
		// The holder may be sent what it knows already.
		overlap := statement(from-min(from, random.Uint64N(3)), sequence, 4*(round+1), entries...)
		v = apply(t, v, overlap)
		if round%7 == 3 {
			raw, err := v.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			if v, err = ParseView(raw); err != nil {
				t.Fatal(err)
			}
		}
		refused := 0
		for n := range uint64(serials) {
			want := state[n] == Revoked || state[n] == Held
			finding, found := v.Find(issuerA, serial(n))
			if found != want || finding.Exact && finding.Held != (state[n] == Held) {
				t.Fatalf("round %d: %d is %v, found %v %+v", round, n, state[n], found, finding)
			}
			if want {
				refused++
			}
		}
		if v.overlay.size() > maxOverlay || v.Len() < refused {
			t.Fatalf("round %d: %d changes kept, %d refused, %d counted", round, v.overlay.size(), refused, v.Len())
		}
	}
	if v.setAt <= 1 {
		t.Error("nothing was ever folded, so this test shows less than it says")
	}
}
