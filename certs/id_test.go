package certs

import (
	"crypto/x509"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestParseID(t *testing.T) {
	long := "spiffe://td/" + strings.Repeat("a", 2048-len("spiffe://td/"))
	for _, test := range []struct {
		in string
		ok bool
	}{
		{"spiffe://prod.example.org/web", true},
		{"spiffe://prod_1/a/B/c.d-e_f", true},
		{"spiffe://td/...", true},
		{long, true},
		{long + "a", false},
		{"", false},
		{"spiffe://", false},
		{"spiffe://td", false},
		{"spiffe://td/", false},
		{"spiffe:///web", false},
		{"SPIFFE://td/web", false},
		{"https://td/web", false},
		{"spiffe://TD/web", false},
		{"spiffe://td:443/web", false},
		{"spiffe://user@td/web", false},
		{"spiffe://td/web/", false},
		{"spiffe://td//web", false},
		{"spiffe://td/./web", false},
		{"spiffe://td/../web", false},
		{"spiffe://td/%77eb", false},
		{"spiffe://td/web?x", false},
		{"spiffe://td/web#x", false},
		{"spiffe://td/wéb", false},
		{"spiffe://td/web\x00", false},
		{"spiffe://" + strings.Repeat("d", 255) + "/web", true},
		{"spiffe://" + strings.Repeat("d", 256) + "/web", false},
	} {
		id, err := ParseID(test.in)
		if (err == nil) != test.ok {
			t.Errorf("ParseID(%q): %v, want ok=%v", test.in, err, test.ok)
		}
		if err == nil && (id.String() != test.in || id.URL().String() != test.in) {
			t.Errorf("ParseID(%q) gives back %q and %q", test.in, id, id.URL())
		}
		if err != nil && !id.IsZero() {
			t.Errorf("ParseID(%q) fails, but returns %v", test.in, id)
		}
	}
}

func TestIDParts(t *testing.T) {
	id := mustID(t, "spiffe://td/handfast/ca")
	if !id.IsReserved() || id.Path() != "handfast/ca" || id.TrustDomain() != mustDomain(t, "td") {
		t.Errorf("%v: reserved %v, path %q, domain %v", id, id.IsReserved(), id.Path(), id.TrustDomain())
	}
	if mustID(t, "spiffe://td/handfastened").IsReserved() {
		t.Error("a segment that only begins like the reserved one is reserved")
	}
	again, err := id.TrustDomain().ID("handfast/ca")
	if err != nil || again != id {
		t.Errorf("ID(path) = %v, %v", again, err)
	}
	for _, path := range []string{"", "/x", "x/", "a b", "../x"} {
		if id, err := id.TrustDomain().ID(path); err == nil {
			t.Errorf("path %q gives %v", path, id)
		}
	}
	if _, err := (TrustDomain{}).ID("x"); err == nil {
		t.Error("the zero trust domain vouches for an identity")
	}
}

func TestIDJSON(t *testing.T) {
	var got struct{ A, B ID }
	if err := json.Unmarshal([]byte(`{"A":"spiffe://td/x","B":""}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.A != mustID(t, "spiffe://td/x") || !got.B.IsZero() {
		t.Errorf("%+v", got)
	}
	if err := json.Unmarshal([]byte(`{"A":"spiffe://td"}`), &got); err == nil {
		t.Error("an ID without a path was read")
	}
}

func TestIDFromCertificate(t *testing.T) {
	root := newRoot(t, "root", time.Now())
	uris := func(uris ...string) change {
		return func(c *x509.Certificate) {
			c.URIs = nil
			for _, s := range uris {
				u, err := url.Parse(s)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		}
	}
	for _, test := range []struct {
		name string
		uris []string
		ok   bool
	}{
		{"one", []string{"spiffe://td/web"}, true},
		{"none", nil, false},
		{"two", []string{"spiffe://td/web", "spiffe://td/admin"}, false},
		{"with another scheme", []string{"spiffe://td/web", "https://td/web"}, false},
		{"another scheme", []string{"https://td/web"}, false},
		{"percent-encoded", []string{"spiffe://td/%77eb"}, false},
	} {
		id, err := IDFromCertificate(root.leaf("", uris(test.uris...)).Leaf)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v, %v", test.name, id, err)
		}
	}
}

// What was signed counts, not what net/url makes of it.
func TestIDFromCertificateIsByteForByte(t *testing.T) {
	root := newRoot(t, "root", time.Now())
	for _, raw := range []string{"SPIFFE://td/web", "spiffe://td/web#", "spiffe://td/web"} {
		san := append([]byte{0x30, byte(2 + len(raw)), 0x86, byte(len(raw))}, raw...)
		leaf := root.leaf("", func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, withExtension(oidSubjectAltName, false, san))
		}).Leaf
		_, err := IDFromCertificate(leaf)
		if want := raw == "spiffe://td/web"; (err == nil) != want {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

// FuzzParseID: what is read is written back to the letter, net/url agrees on the parts,
// and the domain's own parser agrees on the domain.
func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"spiffe://prod.example.org/a/b", "spiffe://td/", "spiffe://td/%61", "spiffe://td:1/a", "spiffe://td/a?b#c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			if !id.IsZero() {
				t.Fatalf("%q fails, but gives %v", s, id)
			}
			return
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "spiffe" || u.Host != id.TrustDomain().String() || u.Path != "/"+id.Path() || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q: net/url reads %+v, %v", s, u, err)
		}
		if id.String() != s {
			t.Fatalf("%q is written back as %q", s, id)
		}
		if td, err := ParseTrustDomain(u.Host); err != nil || td != id.TrustDomain() {
			t.Fatalf("%q: domain %v, %v", s, td, err)
		}
	})
}
