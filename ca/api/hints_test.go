package api_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

const goodHeader = `{"alg":"HS256","typ":"handfast-enrol+jwt"}`

func goodClaims() string {
	return `{"iss":"handfast","aud":"prod.example","sub":"shop/web","jti":"x","iat":1700000000,"nbf":1700000000,"exp":1700000900,"ca":"https://ca.example:8443","fpr":"` + strings.Repeat("ab", 32) + `"}`
}

func token(header, claims string) string {
	b := base64.RawURLEncoding
	return b.EncodeToString([]byte(header)) + "." + b.EncodeToString([]byte(claims)) + ".AAAA"
}

func TestTokenHints(t *testing.T) {
	got, err := api.TokenHints(token(goodHeader, goodClaims()))
	want := api.Hints{
		CA: "https://ca.example:8443", Fingerprint: strings.Repeat("ab", 32), TrustDomain: "prod.example",
		Service: "shop/web", ExpiresAt: time.Unix(1700000900, 0).UTC(),
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := api.TokenHints(token(goodHeader, strings.Replace(goodClaims(), "{", `{"new":[1],`, 1))); err != nil {
		t.Errorf("a claim of a newer CA: %v", err)
	}
}

func TestTokenHintsRefusesOthers(t *testing.T) {
	replace := func(old, new string) string { return token(goodHeader, strings.Replace(goodClaims(), old, new, 1)) }
	for _, test := range []struct{ name, token string }{
		{"empty", ""},
		{"one part", "abc"},
		{"two parts", "a.b"},
		{"four parts", token(goodHeader, goodClaims()) + ".x"},
		{"no signature", strings.TrimSuffix(token(goodHeader, goodClaims()), "AAAA")},
		{"line break", token(goodHeader, goodClaims()) + "\n"},
		{"padding", token(goodHeader, goodClaims()) + "=="},
		{"too long", token(goodHeader, goodClaims()+strings.Repeat(" ", api.MaxToken))},
		{"alg none", token(`{"alg":"none","typ":"handfast-enrol+jwt"}`, goodClaims())},
		{"other type", token(`{"alg":"HS256","typ":"JWT"}`, goodClaims())},
		{"empty header", token(`{}`, goodClaims())},
		{"claims twice", replace(`"sub":`, `"sub":"evil","sub":`)},
		{"claims in another case", replace(`"sub":`, `"SUB":"evil","sub":`)},
		{"claims null", token(goodHeader, "null")},
		{"claims cut", token(goodHeader, goodClaims()[:40])},
		{"two claims", token(goodHeader, goodClaims()+goodClaims())},
		{"http", replace("https://ca.example:8443", "http://ca.example:8443")},
		{"CA with a path", replace(":8443", ":8443/x")},
		{"CA with a user", replace("https://", "https://me@")},
		{"no CA", replace("https://ca.example:8443", "")},
		{"short fingerprint", replace("abab", "")},
		{"upper-case fingerprint", replace("abab", "ABAB")},
		{"no expiry", replace(`"exp":1700000900,`, "")},
		{"expiry in words", replace("1700000900", `"soon"`)},
		{"expiry far away", replace("1700000900", "99999999999999")},
		{"relative service", replace("shop/web", "shop/../db")},
		{"bad audience", replace("prod.example", "PROD")},
		{"two audiences", replace(`"prod.example"`, `["prod.example","x"]`)},
		{"other issuer", replace(`"handfast"`, `"step"`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := api.TokenHints(test.token); err == nil {
				t.Errorf("accepted: %+v", got)
			}
		})
	}
	if _, err := api.TokenHints(token(`{"alg":"ES256","kid":"k","typ":"JWT","x5cInsecure":["A"]}`, `{}`)); !errors.Is(err, api.ErrForeignToken) {
		t.Errorf("a provisioner's token: %v; want ErrForeignToken", err)
	}
}

// Whatever is accepted can be used: a CA to connect to, a fingerprint to pin, a service
// that exists in the trust domain. No error quotes the token.
func FuzzTokenHints(f *testing.F) {
	f.Add(goodHeader, goodClaims(), "AAAA")
	f.Add(`{}`, `{}`, "")
	f.Add(goodHeader, strings.Replace(goodClaims(), "https://ca", "https://[::1%25a]", 1), "AA")
	f.Fuzz(func(t *testing.T, header, claims, rest string) {
		b := base64.RawURLEncoding
		for _, token := range []string{rest, b.EncodeToString([]byte(header)) + "." + b.EncodeToString([]byte(claims)) + "." + rest} {
			hints, err := api.TokenHints(token)
			if err != nil {
				if len(rest) > 20 && strings.Contains(err.Error(), rest) {
					t.Fatalf("the error quotes the token: %v", err)
				}
				continue
			}
			td, err := certs.ParseTrustDomain(hints.TrustDomain)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := td.ID(hints.Service); err != nil {
				t.Fatal(err)
			}
			pin, err := certs.PinnedConfig(hints.Fingerprint)
			if err != nil {
				t.Fatal(err)
			}
			c, err := api.NewClient(hints.CA, pin)
			if err != nil || c.BaseURL() != hints.CA {
				t.Fatalf("CA %q: %v", hints.CA, err)
			}
			if hints.ExpiresAt.IsZero() || hints.ExpiresAt.Year() > 9999 {
				t.Fatalf("expiry %v", hints.ExpiresAt)
			}
		}
	})
}
