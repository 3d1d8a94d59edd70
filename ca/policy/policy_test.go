package policy_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

var profiles = map[string]time.Duration{"": time.Hour, "default": time.Hour, "long": 48 * time.Hour}

func domain(t testing.TB) certs.TrustDomain {
	t.Helper()
	td, err := certs.ParseTrustDomain("test.example")
	if err != nil {
		t.Fatal(err)
	}
	return td
}

func TestServiceNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "cart": true, "shop/cart": true, "a.b_c-d/e1": true, "0": true, strings.Repeat("a", 200): true,
		"handfasted/x": true, "x/handfast": true,
		"": false, "/": false, "a/": false, "/a": false, "a//b": false, ".": false, "..": false, "a/../b": false, "a.": false, "-a": false,
		"A": false, "a b": false, "a*": false, "*": false, "a\x00": false, "a\n": false, "é": false, "a%2fb": false, "a?b": false, "a#b": false,
		strings.Repeat("a", 201): false, "handfast": false, "handfast/operator/admin": false, "handfast/ca": false,
		"spiffe://other/a": false, "a@b": false, "a{{b}}": false,
	} {
		err := policy.CheckServiceName(name)
		if (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", name, err, ok)
		}
		if _, err := policy.ServiceID(domain(t), name); (err == nil) != ok {
			t.Errorf("ID of %q: %v, want ok %v", name, err, ok)
		}
	}
}

func TestOperatorNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"alice": true, "ci-1": true, strings.Repeat("a", 64): true,
		"": false, "a/b": false, "Alice": false, "..": false, strings.Repeat("a", 65): false, "a@b.c": false,
	} {
		if err := policy.CheckOperatorName(name); (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", name, err, ok)
		}
	}
	if id, err := policy.OperatorID(domain(t), "alice"); err != nil || !id.IsReserved() || id.Path() != "handfast/operator/alice" {
		t.Errorf("ID = %s, %v", id, err)
	}
}

func TestNormalize(t *testing.T) {
	in := policy.Service{
		Name: "shop/cart", DNSNames: []string{"Cart.Shop", "api", "cart.shop"},
		IPs:     []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		Callers: []string{"shop/web", "*", "shop/web"}, Profile: "long", TTL: 24 * time.Hour, MaxSilence: policy.MinSilence, Version: 7,
	}
	want := policy.Service{
		Name: "shop/cart", DNSNames: []string{"api", "cart.shop"},
		IPs:     []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		Callers: []string{"*", "shop/web"}, Profile: "long", TTL: 24 * time.Hour, MaxSilence: policy.MinSilence, Version: 7,
	}
	got, err := policy.Normalize(in, profiles)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if in.DNSNames[0] != "Cart.Shop" || in.Callers[0] != "shop/web" {
		t.Error("the caller's own lists were changed")
	}
}

func TestNormalizeRefuses(t *testing.T) {
	dns := func(names ...string) policy.Service { return policy.Service{Name: "a", DNSNames: names} }
	ip := func(text string) policy.Service {
		return policy.Service{Name: "a", IPs: []netip.Addr{netip.MustParseAddr(text)}}
	}
	for name, service := range map[string]policy.Service{
		"reserved name":    {Name: "handfast/ca"},
		"wildcard":         dns("*.example.org"),
		"inner wildcard":   dns("a.*.org"),
		"empty label":      dns("a..b"),
		"empty":            dns(""),
		"trailing dot":     dns("a.b."),
		"underscore":       dns("a_b.c"),
		"leading hyphen":   dns("-a.b"),
		"trailing hyphen":  dns("a-.b"),
		"IPv4 as a name":   dns("10.0.0.1"),
		"IPv6 as a name":   dns("fd00::1"),
		"number last":      dns("a.123"),
		"long label":       dns(strings.Repeat("a", 64) + ".b"),
		"long name":        dns(strings.Repeat("a.", 127) + "a"),
		"Unicode":          dns("bücher.example"),
		"Kelvin sign":      dns("\u212aube.example"),
		"null":             dns("a\x00.b"),
		"template":         dns("{{.Name}}"),
		"URL":              dns("https://a"),
		"port":             dns("a:443"),
		"too many names":   dns(make([]string, policy.MaxDNSNames+1)...),
		"unspecified":      ip("0.0.0.0"),
		"unspecified, v6":  ip("::"),
		"multicast":        ip("224.0.0.1"),
		"broadcast":        ip("255.255.255.255"),
		"zone":             ip("fe80::1%eth0"),
		"no address":       {Name: "a", IPs: make([]netip.Addr, 1)},
		"too many IPs":     {Name: "a", IPs: make([]netip.Addr, policy.MaxIPs+1)},
		"caller":           {Name: "a", Callers: []string{"A"}},
		"reserved caller":  {Name: "a", Callers: []string{"handfast/operator/x"}},
		"pattern caller":   {Name: "a", Callers: []string{"shop/*"}},
		"foreign caller":   {Name: "a", Callers: []string{"spiffe://other/b"}},
		"too many callers": {Name: "a", Callers: make([]string, policy.MaxCallers+1)},
		"unknown profile":  {Name: "a", Profile: "nope"},
		"short silence":    {Name: "a", MaxSilence: policy.MinSilence - 1},
		"long silence":     {Name: "a", MaxSilence: policy.MaxSilence + 1},
		"negative silence": {Name: "a", MaxSilence: -time.Minute},
		"long profile":     {Name: "a", Profile: strings.Repeat("p", 65)},
		"short TTL":        {Name: "a", TTL: time.Second},
		"negative TTL":     {Name: "a", TTL: -time.Hour},
		"past the profile": {Name: "a", TTL: time.Hour + 1},
		"past the bound":   {Name: "a", Profile: "long", TTL: 91 * 24 * time.Hour},
	} {
		if got, err := policy.Normalize(service, profiles); err == nil {
			t.Errorf("%s was accepted: %+v", name, got)
		}
	}
}

func TestNormalizeOperator(t *testing.T) {
	got, err := policy.NormalizeOperator(policy.Operator{Name: "ci", Role: policy.RoleIssuer, Services: []string{"b", "a", "b"}})
	if err != nil || !slices.Equal(got.Services, []string{"a", "b"}) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, operator := range map[string]policy.Operator{
		"no name":            {Role: policy.RoleAdmin},
		"no role":            {Name: "a"},
		"unknown role":       {Name: "a", Role: "root"},
		"role in upper case": {Name: "a", Role: "Admin"},
		"issuer of nothing":  {Name: "a", Role: policy.RoleIssuer},
		"bound admin":        {Name: "a", Role: policy.RoleAdmin, Services: []string{"b"}},
		"wildcard":           {Name: "a", Role: policy.RoleIssuer, Services: []string{"*"}},
		"too many":           {Name: "a", Role: policy.RoleIssuer, Services: make([]string, 1001)},
	} {
		if got, err := policy.NormalizeOperator(operator); err == nil {
			t.Errorf("%s was accepted: %+v", name, got)
		}
	}
}

// TestAllow lists every role against every action, with its own, another and no service.
func TestAllow(t *testing.T) {
	operators := map[string]policy.Operator{
		"admin":   {Name: "a", Role: policy.RoleAdmin},
		"issuer":  {Name: "i", Role: policy.RoleIssuer, Services: []string{"own"}},
		"reader":  {Name: "r", Role: policy.RoleReader},
		"unknown": {Name: "u", Role: "root"},
		"zero":    {},
		"unnamed": {Role: policy.RoleAdmin},
	}
	// Who may, by action and service; everybody else may not.
	allowed := map[policy.Action]map[string]string{
		policy.ActionRead:            {"own": "admin issuer reader", "other": "admin issuer reader", "": "admin issuer reader"},
		policy.ActionToken:           {"own": "admin issuer", "other": "admin", "": "admin"},
		policy.ActionIssue:           {"own": "admin issuer", "other": "admin", "": "admin"},
		policy.ActionRevoke:          {"own": "admin issuer", "other": "admin", "": "admin"},
		policy.ActionChangeServices:  {"own": "admin", "other": "admin", "": "admin"},
		policy.ActionChangeOperators: {"own": "admin", "other": "admin", "": "admin"},
		"":                           {"own": "", "other": "", "": ""},
		"Read":                       {"own": "", "other": "", "": ""},
		"sign_anything":              {"own": "", "other": "", "": ""},
	}
	for action, byService := range allowed {
		for service, who := range byService {
			for role, operator := range operators {
				err := policy.Allow(operator, action, service)
				if want := slices.Contains(strings.Fields(who), role); (err == nil) != want {
					t.Errorf("%s, %q for %q: %v, want allowed %v", role, action, service, err, want)
				}
				if _, ok := errors.AsType[*policy.Denied](err); err != nil && !ok {
					t.Errorf("%s: %T is no *Denied", role, err)
				}
			}
		}
	}
}

// TestInvariant23UnknownCallersResolveToNothing also when the registry cannot be read.
func TestInvariant23UnknownCallersResolveToNothing(t *testing.T) {
	service := policy.Service{Name: "a", Callers: []string{"*", "gone", "there"}}
	got, err := policy.CallerIDs(domain(t), service, func(name string) (bool, error) { return name == "there", nil })
	if err != nil || !slices.Equal(got, []string{"*", "spiffe://test.example/there"}) {
		t.Errorf("%v, %v", got, err)
	}
	fault := errors.New("no ledger")
	got, err = policy.CallerIDs(domain(t), service, func(string) (bool, error) { return true, fault })
	if !errors.Is(err, fault) || got != nil {
		t.Errorf("%v, %v; want the fault and nobody", got, err)
	}
	if got, err := policy.CallerIDs(domain(t), policy.Service{Name: "a"}, nil); err != nil || len(got) != 0 {
		t.Errorf("%v, %v; none means nobody", got, err)
	}
	if _, err := policy.CallerIDs(domain(t), policy.Service{Callers: []string{"handfast/ca"}}, nil); err == nil {
		t.Error("a reserved caller was resolved")
	}
}

// FuzzNormalize: what is accepted is normal (normalizing again changes nothing), makes a
// SPIFFE ID of its own name, and holds nothing but letters, digits, dots and hyphens in its names.
func FuzzNormalize(f *testing.F) {
	f.Add("shop/cart", "Cart.example", "10.0.0.1", "*")
	f.Add("handfast/ca", "*", "::", "..")
	f.Add("a", "a.b", "fe80::1%0", "a/b")
	f.Fuzz(func(t *testing.T, name, dns, ip, caller string) {
		service := policy.Service{Name: name, DNSNames: []string{dns}, Callers: []string{caller}}
		if addr, err := netip.ParseAddr(ip); err == nil {
			service.IPs = []netip.Addr{addr}
		}
		once, err := policy.Normalize(service, profiles)
		if err != nil {
			return
		}
		twice, err := policy.Normalize(once, profiles)
		if err != nil || !slices.Equal(once.DNSNames, twice.DNSNames) || !slices.Equal(once.IPs, twice.IPs) || !slices.Equal(once.Callers, twice.Callers) {
			t.Fatalf("normalized twice: %+v, then %+v, %v", once, twice, err)
		}
		id, err := policy.ServiceID(domain(t), once.Name)
		if err != nil || id.Path() != name || id.IsReserved() {
			t.Fatalf("ID = %s, %v", id, err)
		}
		if strings.Trim(once.DNSNames[0], "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			t.Fatalf("DNS name %q", once.DNSNames[0])
		}
	})
}
