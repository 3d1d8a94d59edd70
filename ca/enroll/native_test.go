package enroll_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/certs"
)

const header = `{"alg":"HS256","typ":"handfast-enrol+jwt"}`

func TestMintedTokenVerifies(t *testing.T) {
	at := newClock()
	e := newEnroller(t, func(c *enroll.Config) { c.Now = at.now })
	token, expires, err := e.Mint("team/billing", 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := at.Add(enroll.DefaultTokenTTL); !expires.Equal(want) {
		t.Errorf("expires %v; want %v", expires, want)
	}
	claim, err := e.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	want := ca.Claim{
		Service: "team/billing",
		Method:  ca.MethodToken,
		// Remembered for as long as the token could still be accepted.
		OneTime: &ca.OneTime{ID: claim.OneTime.ID, ExpiresAt: expires.Add(time.Minute)},
		By:      claim.By,
	}
	if diff := cmp.Diff(want, claim, cmp.Comparer(time.Time.Equal)); diff != "" {
		t.Error(diff)
	}
	again, err := e.Verify(t.Context(), token)
	if err != nil || again.OneTime.ID != claim.OneTime.ID {
		t.Errorf("second look: %v, %v; want the same one-time id, by which the ledger refuses the replay", again.OneTime, err)
	}
}

func TestTokenCarriesWhatTheAgentNeeds(t *testing.T) {
	e := newEnroller(t, nil)
	token, expires, err := e.Mint("web", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		CA  string `json:"ca"`
		FPR string `json:"fpr"`
		Sub string `json:"sub"`
		Exp int64  `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if claims.CA != apiURL || claims.FPR != fingerprint || claims.Sub != "web" || claims.Exp != expires.Unix() {
		t.Errorf("claims = %+v", claims)
	}
}

func TestMintIDsAreRandomAndLong(t *testing.T) {
	e := newEnroller(t, nil)
	seen := map[string]bool{}
	for range 1000 {
		token, _, err := e.Mint("web", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		claim, err := e.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		_, id := ca.PlaceOf(claim.OneTime.ID)
		id, _ = strings.CutPrefix(id, "token:")
		octets, err := base64.RawURLEncoding.DecodeString(id)
		if err != nil || len(octets) < 16 || seen[id] {
			t.Fatalf("id %q: %d octets, seen before: %v", id, len(octets), seen[id])
		}
		seen[id] = true
	}
}

// The place of a token must never change while it may be used: the ledger would not find that it was.
func TestPlaceFollowsFromTheToken(t *testing.T) {
	const exp = 1800000000
	at := newClock()
	at.Time = time.Unix(exp-3600, 0)
	e := newEnroller(t, func(c *enroll.Config) { c.Now = at.now })
	place := func(token string) uint32 {
		t.Helper()
		claim, err := e.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := ca.PlaceOf(claim.OneTime.ID)
		return p
	}
	first, _, err := e.Mint("web", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	at.Time = at.Add(time.Millisecond)
	second, _, err := e.Mint("web", 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// 4096 places a second, so a millisecond later is 4 on.
	if a, b := place(first), place(second); b != a+4 {
		t.Errorf("places %d and %d, want the second 4 on", a, b)
	}
	at.Time = at.Add(time.Minute)
	if again := place(first); again != place(second)-4 {
		t.Errorf("place %d a minute later", again)
	}
	// Minted by an older version: 20 random octets.
	old := sealed(nativeKey, `{"alg":"HS256","typ":"handfast-enrol+jwt"}`, claimsJSON(at.Time, "exp", int64(exp)))
	if got := place(old); got != exp {
		t.Errorf("place %d of an old token, want its expiry", got)
	}
}

func TestMintRefuses(t *testing.T) {
	tests := []struct {
		name, service string
		ttl           time.Duration
		want          string
	}{
		{"too short", "web", 59 * time.Second, "outside"},
		{"too long", "web", 24*time.Hour + 1, "outside"},
		{"negative", "web", -time.Hour, "outside"},
		{"no service", "", time.Hour, "no path"},
		{"an operator", "handfast/operator/root", time.Hour, "belong to the CA"},
		{"not a name", "web/../db", time.Hour, "relative"},
	}
	e := newEnroller(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, _, err := e.Mint(tt.service, tt.ttl)
			if token != "" {
				t.Error("a token came with the error")
			}
			wantCode(t, err, api.CodeBadRequest, tt.want)
		})
	}
}

// claimsJSON is a right payload at now, changed by edits of the form name, value.
func claimsJSON(now time.Time, edits ...any) string {
	fields := map[string]any{
		"iss": "handfast", "aud": "prod.example.org", "sub": "web", "jti": strings.Repeat("j", 27),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"ca": apiURL, "fpr": fingerprint,
	}
	for i := 0; i < len(edits); i += 2 {
		fields[edits[i].(string)] = edits[i+1]
	}
	out, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(out)
}

// Invariant 17: replayed, expired and future tokens are refused (the replay by the
// ledger, see TestMintedTokenVerifies), and so is whatever this CA did not mint.
func TestInvariant17NativeTokenFaults(t *testing.T) {
	at := newClock()
	e := newEnroller(t, func(c *enroll.Config) { c.Now = at.now })
	good := sealed(nativeKey, header, claimsJSON(at.Time))
	if _, err := e.Verify(t.Context(), good); err != nil {
		t.Fatalf("the token that the faults are made from: %v", err)
	}
	parts := strings.Split(good, ".")
	unix := func(d time.Duration) int64 { return at.Add(d).Unix() }
	tests := []struct {
		name, token string
		code        api.Code
		want        string
	}{
		{"expired", sealed(nativeKey, header, claimsJSON(at.Time, "exp", unix(-time.Minute))), api.CodeTokenExpired, "expired at"},
		{"future", sealed(nativeKey, header, claimsJSON(at.Time, "nbf", unix(61*time.Second))), api.CodeTokenExpired, "not valid before"},
		{"made in the future", sealed(nativeKey, header, claimsJSON(at.Time, "iat", unix(61*time.Second))), api.CodeTokenExpired, "not valid before"},
		{"other CA", sealed(bytes.Repeat([]byte{7}, 32), header, claimsJSON(at.Time)), api.CodeTokenInvalid, "did not mint"},
		{"wrong audience", sealed(nativeKey, header, claimsJSON(at.Time, "aud", "dev.example.org")), api.CodeTokenInvalid, "trust domain"},
		{"audience list", sealed(nativeKey, header, claimsJSON(at.Time, "aud", []string{"prod.example.org"})), api.CodeTokenInvalid, "malformed"},
		{"wrong issuer", sealed(nativeKey, header, claimsJSON(at.Time, "iss", "step")), api.CodeTokenInvalid, "issuer"},
		{"reserved name", sealed(nativeKey, header, claimsJSON(at.Time, "sub", "handfast/operator/x")), api.CodeTokenInvalid, "no service"},
		{"empty subject", sealed(nativeKey, header, claimsJSON(at.Time, "sub", "")), api.CodeTokenInvalid, "no service"},
		{"short id", sealed(nativeKey, header, claimsJSON(at.Time, "jti", "abc")), api.CodeTokenInvalid, "id"},
		{"eternal", sealed(nativeKey, header, claimsJSON(at.Time, "exp", unix(365*24*time.Hour))), api.CodeTokenInvalid, "last longer"},
		{"unknown claim", sealed(nativeKey, header, claimsJSON(at.Time, "admin", true)), api.CodeTokenInvalid, "malformed"},
		{"two values", sealed(nativeKey, header, claimsJSON(at.Time)+"{}"), api.CodeTokenInvalid, "malformed"},
		{"alg none", segment(`{"alg":"none","typ":"handfast-enrol+jwt"}`) + "." + parts[1] + ".", api.CodeTokenInvalid, "no signature"},
		{"alg none with a signature", segment(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + "." + parts[2], api.CodeTokenInvalid, ""},
		{"alg HS512", sealed(nativeKey, `{"alg":"HS512","typ":"handfast-enrol+jwt"}`, claimsJSON(at.Time)), api.CodeTokenInvalid, "algorithm"},
		{"HS256 without its type", sealed(nativeKey, `{"alg":"HS256","typ":"JWT"}`, claimsJSON(at.Time)), api.CodeTokenInvalid, "algorithm"},
		{"header in another order", sealed(nativeKey, `{"typ":"handfast-enrol+jwt","alg":"HS256"}`, claimsJSON(at.Time)), api.CodeTokenInvalid, "algorithm"},
		{"ES256 by its name", segment(`{"alg":"ES256","typ":"handfast-enrol+jwt"}`) + "." + parts[1] + "." + parts[2], api.CodeTokenInvalid, "type"},
		{"tampered payload", parts[0] + "." + segment(claimsJSON(at.Time, "sub", "db")) + "." + parts[2], api.CodeTokenInvalid, "did not mint"},
		{"cut signature", good[:len(good)-4], api.CodeTokenInvalid, ""},
		{"padded", good + "=", api.CodeTokenInvalid, "base64url"},
		{"line break", good[:40] + "\n" + good[40:], api.CodeTokenInvalid, "base64url"},
		{"space", " " + good, api.CodeTokenInvalid, "base64url"},
		{"four parts", good + ".x", api.CodeTokenInvalid, "three parts"},
		{"JSON serialization", `{"payload":"` + parts[1] + `"}`, api.CodeTokenInvalid, "three parts"},
		{"empty", "", api.CodeTokenInvalid, "three parts"},
		{"huge", strings.Repeat("a", api.MaxToken+1), api.CodeTokenInvalid, "bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claim, err := e.Verify(t.Context(), tt.token)
			wantCode(t, err, tt.code, tt.want)
			if claim != (ca.Claim{}) {
				t.Errorf("claim = %+v with an error", claim)
			}
		})
	}
}

func TestClocksMayDifferByAMinute(t *testing.T) {
	at := newClock()
	e := newEnroller(t, func(c *enroll.Config) { c.Now = at.now })
	token, expires, err := e.Mint("web", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	minted := at.Time
	tests := []struct {
		now time.Time
		ok  bool
	}{
		{minted.Add(-61 * time.Second), false},
		{minted.Add(-60 * time.Second), true},
		{expires.Add(59 * time.Second), true},
		{expires.Add(60 * time.Second), false}, // the ledger may have forgotten the id by now
	}
	for _, tt := range tests {
		at.Time = tt.now
		if _, err := e.Verify(t.Context(), token); (err == nil) != tt.ok {
			t.Errorf("at %v: %v; want accepted: %v", tt.now.Sub(minted), err, tt.ok)
		}
	}
}

// Invariant 18: no secret in an error.
func TestInvariant18ErrorsShowNoSecret(t *testing.T) {
	at := newClock()
	e := newEnroller(t, func(c *enroll.Config) { c.Now = at.now })
	token, _, err := e.Mint("web", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	at.Time = at.Add(24 * time.Hour)
	_, expired := e.Verify(t.Context(), token)
	_, tampered := e.Verify(t.Context(), token[:len(token)-8]+"AAAAAAAA")
	_, broken := enroll.New(enroll.Config{TrustDomain: certs.TrustDomain{}, NativeKey: nativeKey[:31]})
	values := []any{expired, tampered, broken, e, *e, enroll.Config{NativeKey: nativeKey}}
	for _, value := range values {
		if value == nil {
			t.Fatal("no error")
		}
		text := fmt.Sprintf("%v %+v %#v %x", value, value, value, value)
		signature := token[strings.LastIndexByte(token, '.')+1:]
		for _, secret := range []string{string(nativeKey[:8]), strings.Trim(fmt.Sprint(nativeKey[:4]), "[]"), hex.EncodeToString(nativeKey[:8]), base64.StdEncoding.EncodeToString(nativeKey[:6]), signature} {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows a secret", text)
			}
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	e := newEnroller(b, nil)
	token, _, err := e.Mint("web", 0)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
