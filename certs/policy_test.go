package certs

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestPolicyAllows(t *testing.T) {
	api := mustID(t, "spiffe://prod.test/api")
	policy := func(callers ...string) *Policy {
		p, err := NewPolicy(api, callers)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, test := range []struct {
		name   string
		policy *Policy
		caller string
		ok     bool
	}{
		{"named", policy("spiffe://prod.test/web"), "spiffe://prod.test/web", true},
		{"not named", policy("spiffe://prod.test/web"), "spiffe://prod.test/db", false},
		{"below a named one", policy("spiffe://prod.test/web"), "spiffe://prod.test/web/x", false},
		{"same path, other domain", policy("spiffe://prod.test/web"), "spiffe://evil.test/web", false},
		{"nobody", policy(), "spiffe://prod.test/web", false},
		{"itself is not implied", policy(), "spiffe://prod.test/api", false},
		{"any", policy("*"), "spiffe://prod.test/web", true},
		{"any is not another domain's", policy("*"), "spiffe://evil.test/web", false},
		{"any is not an operator", policy("*"), "spiffe://prod.test/handfast/operator/eve", false},
		{"unknown", nil, "spiffe://prod.test/web", false},
	} {
		if err := test.policy.Allows(mustID(t, test.caller)); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := policy("*").Allows(ID{}); err == nil {
		t.Error("no identity at all was allowed")
	}
	if err := (*Policy)(nil).Allows(api); !errors.Is(err, ErrPolicyUnknown) {
		t.Errorf("nil policy: %v", err)
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	api := mustID(t, "spiffe://prod.test/api")
	for name, callers := range map[string][]string{
		"no ID":         {"web"},
		"a pattern":     {"spiffe://prod.test/*"},
		"nothing":       {""},
		"other domain":  {"spiffe://evil.test/web"},
		"over the size": slices.Repeat([]string{"*"}, maxCallers+1),
	} {
		if p, err := NewPolicy(api, callers); err == nil {
			t.Errorf("%s: %v", name, p.Callers())
		}
	}
	if _, err := NewPolicy(ID{}, nil); err == nil {
		t.Error("a policy of nobody")
	}
}

func TestParsePolicy(t *testing.T) {
	const id = `"id":"spiffe://prod.test/api"`
	for _, test := range []struct {
		in string
		ok bool
	}{
		{`{` + id + `,"callers":["*"]}`, true},
		{`{` + id + `,"callers":[]}` + "\n", true},
		{`{` + id + `}`, false},
		{`{` + id + `,"callers":null}`, false},
		{`{` + id + `,"callers":"*"}`, false},
		{`{"callers":["*"]}`, false},
		{`{"id":"","callers":["*"]}`, false},
		{`{` + id + `,"callers":["*"],"deny":["x"]}`, false},
		{`{` + id + `,"callers":["*"]}{}`, false},
		{`{` + id + `,"callers":["*"]`, false},
		{`[]`, false},
		{`null`, false},
		{``, false},
		{strings.Repeat(" ", maxPolicySize) + `{` + id + `,"callers":["*"]}`, false},
	} {
		if _, err := ParsePolicy([]byte(test.in)); (err == nil) != test.ok {
			t.Errorf("%.80q: %v", test.in, err)
		}
	}
}

func TestAuthorizers(t *testing.T) {
	w := newWorld(t, crlNow)
	web, operator := Peer{ID: mustID(t, "spiffe://prod.test/web")}, Peer{ID: mustID(t, "spiffe://prod.test/handfast/operator/eve")}
	foreign := Peer{ID: mustID(t, "spiffe://evil.test/web")}
	snap := w.snapshot(t, "api", "spiffe://prod.test/web")
	borrowed := *snap
	borrowed.Policy = w.snapshot(t, "db", "*").Policy
	for _, test := range []struct {
		name  string
		allow Authorizer
		peer  Peer
		cause Cause
	}{
		{"nil refuses everybody", nil, web, CausePolicyUnknown},
		{"AllowID", AllowID(web.ID), web, ""},
		{"AllowID of another", AllowID(web.ID), operator, CausePolicyDenied},
		{"AllowID of nobody", AllowID(), web, CausePolicyDenied},
		{"AllowID of the zero ID", AllowID(ID{}), Peer{}, CausePolicyDenied},
		{"AllowTrustDomain", AllowTrustDomain(w.td), web, ""},
		{"AllowTrustDomain, reserved", AllowTrustDomain(w.td), operator, CausePolicyDenied},
		{"AllowTrustDomain, foreign", AllowTrustDomain(w.td), foreign, CausePolicyDenied},
		{"AllowTrustDomain, zero", AllowTrustDomain(TrustDomain{}), Peer{}, CausePolicyDenied},
		{"AllowPolicy", AllowPolicy(fixed{snap, nil}), web, ""},
		{"AllowPolicy denies", AllowPolicy(fixed{snap, nil}), operator, CausePolicyDenied},
		{"AllowPolicy without policy", AllowPolicy(fixed{&Snapshot{}, nil}), web, CausePolicyUnknown},
		{"AllowPolicy of another service", AllowPolicy(fixed{&borrowed, nil}), web, CausePolicyUnknown},
		{"AllowPolicy of a failing source", AllowPolicy(fixed{nil, errors.New("away")}), web, CausePolicyUnknown},
		{"AllowPolicy without source", AllowPolicy(nil), web, CausePolicyUnknown},
	} {
		if cause, err := test.allow.decide(test.peer); cause != test.cause || (err == nil) != (cause == "") {
			t.Errorf("%s: %q, %v", test.name, cause, err)
		}
	}
}

// fixed is a Source that never changes.
type fixed struct {
	snap *Snapshot
	err  error
}

func (f fixed) Current() (*Snapshot, error) { return f.snap, f.err }

// FuzzParsePolicy: what is read is written back to the same policy, and none ever
// allows another trust domain or, but by name, a reserved identity.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(`{"id":"spiffe://prod.test/api","callers":["*","spiffe://prod.test/web"]}`))
	f.Add([]byte(`{"id":"spiffe://prod.test/api","callers":[]}`))
	f.Add([]byte(`{"ID":"spiffe://prod.test/api","Callers":["spiffe://prod.test/handfast/ca"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy(data)
		if err != nil {
			return
		}
		out, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParsePolicy(out)
		if err != nil || again.ID() != p.ID() || !slices.Equal(again.Callers(), p.Callers()) {
			t.Fatalf("%s is written back as %s: %v", data, out, err)
		}
		foreign := mustID(t, fmt.Sprintf("spiffe://%.200s.x/web", p.ID().TrustDomain()))
		if p.Allows(foreign) == nil {
			t.Fatalf("%s allows %s", data, foreign)
		}
		reserved := mustID(t, "spiffe://"+p.ID().TrustDomain().String()+"/handfast/zz")
		if p.Allows(reserved) == nil && !slices.Contains(p.Callers(), reserved.String()) {
			t.Fatalf("%s allows %s", data, reserved)
		}
	})
}
