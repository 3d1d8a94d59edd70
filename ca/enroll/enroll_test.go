package enroll_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/certs"
)

func TestNewRefuses(t *testing.T) {
	td, _ := certs.ParseTrustDomain("prod.example.org")
	right := enroll.Config{TrustDomain: td, NativeKey: nativeKey, URL: apiURL, Fingerprint: fingerprint}
	tests := []struct {
		name   string
		change func(*enroll.Config)
		want   string
	}{
		{"no trust domain", func(c *enroll.Config) { c.TrustDomain = certs.TrustDomain{} }, "trust domain"},
		{"short key", func(c *enroll.Config) { c.NativeKey = nativeKey[:16] }, "32"},
		{"no address", func(c *enroll.Config) { c.URL = "" }, "https://host:port"},
		{"plain HTTP", func(c *enroll.Config) { c.URL = "http://ca:80" }, "https://host:port"},
		{"address with a path", func(c *enroll.Config) { c.URL = apiURL + "/v1" }, "https://host:port"},
		{"fingerprint with colons", func(c *enroll.Config) { c.Fingerprint = "AB:CD" }, "fingerprint"},
		{"lifetime", func(c *enroll.Config) { c.TokenTTL = 48 * time.Hour }, "token_ttl"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := right
			tt.change(&cfg)
			if _, err := enroll.New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v; want %q in it", err, tt.want)
			}
		})
	}
}

// FuzzVerify: whatever is accepted has the one right MAC over the one right header, to
// the letter, so it was minted here and has no second spelling.
func FuzzVerify(f *testing.F) {
	at := newClock()
	e := newEnroller(f, func(c *enroll.Config) { c.Now = at.now })
	for _, service := range []string{"web", "team/db"} {
		token, _, err := e.Mint(service, time.Hour)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(token)
		f.Add(token + "=")
		f.Add(strings.ToLower(token))
	}
	f.Add(segment(`{"alg":"none"}`) + "." + segment(claimsJSON(at.Time)) + ".AA")
	f.Add(segment(`{"alg":"ES256","kid":"k","x5c":["AAAA"]}`) + "." + segment(`{"iss":"x","sub":"y","exp":1e400}`) + ".AA")
	f.Fuzz(func(t *testing.T, token string) {
		claim, err := e.Verify(t.Context(), token)
		if err == nil {
			payload, decodeErr := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
			if decodeErr != nil || token != sealed(nativeKey, header, string(payload)) {
				t.Fatalf("accepted: %q", token)
			}
		}
		if err != nil && claim != (ca.Claim{}) {
			t.Fatalf("a claim came with error %v", err)
		}
	})
}
