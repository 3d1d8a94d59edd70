package enroll_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/enroll"
)

// claims is a token's payload.
type claims map[string]any

// fresh returns what a right platform token holds, changed by edits; nil removes.
func fresh(edits claims) claims {
	now := time.Now()
	c := claims{
		"iss": "ci", "sub": "job-7", "aud": audience, "jti": "id-1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	for name, value := range edits {
		c[name] = value
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

// signed makes a JWT. headers are added to alg and typ.
func signed(t testing.TB, key any, alg jose.SignatureAlgorithm, headers map[string]any, c claims) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	for name, value := range headers {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	object, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func newECKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func jwkJSON(t testing.TB, key any, kid string) []byte {
	t.Helper()
	out, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid, Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// jwkPlatform trusts key as "k1" of issuer "ci".
func jwkPlatform(t testing.TB, key *ecdsa.PrivateKey, rules ...enroll.Rule) func(*enroll.Config) {
	return func(c *enroll.Config) {
		c.Platforms.JWK = []enroll.JWK{{Name: "ci", Key: jwkJSON(t, key.Public(), "k1"), Rules: rules}}
	}
}

var kid1 = map[string]any{"kid": "k1"}

func TestJWKTokenBecomesAClaim(t *testing.T) {
	key := newECKey(t)
	e := newEnroller(t, jwkPlatform(t, key,
		enroll.Rule{Service: "billing", Subject: "job-7"},
		enroll.Rule{Service: "web", Subject: "job-8", Claims: map[string]string{"env": "prod", "groups": "ops"}}))
	tests := []struct {
		name    string
		claims  claims
		service string
	}{
		{"by subject", fresh(nil), "billing"},
		{"without an id", fresh(claims{"jti": nil}), "billing"},
		{"by claims", fresh(claims{"sub": "job-8", "env": "prod", "groups": []string{"dev", "ops"}}), "web"},
		{"several audiences", fresh(claims{"aud": []string{"https://elsewhere", audience}}), "billing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claim, err := e.Verify(t.Context(), signed(t, key, jose.ES256, kid1, tt.claims))
			if err != nil {
				t.Fatal(err)
			}
			if claim.Service != tt.service || claim.Method != ca.MethodJWK {
				t.Errorf("claim = %+v; want service %s", claim, tt.service)
			}
			if claim.OneTime == nil || !strings.HasPrefix(claim.OneTime.ID, "jwk:") || len(claim.OneTime.ID) > 512 {
				t.Errorf("one-time id = %+v", claim.OneTime)
			}
			if expiry := time.Unix(tt.claims["exp"].(int64), 0); claim.OneTime.ExpiresAt.Before(expiry) {
				t.Errorf("the id is forgotten at %v, before the token expires at %v", claim.OneTime.ExpiresAt, expiry)
			}
		})
	}
}

// Invariants 16 and 17 for platforms: two signatures over the same claims use up the
// same id, so an attacker who can vary a signature gains no second use.
func TestInvariant16SameClaimsAreOneToken(t *testing.T) {
	key := newECKey(t)
	e := newEnroller(t, jwkPlatform(t, key, enroll.Rule{Service: "billing", Subject: "job-7"}))
	for name, c := range map[string]claims{"with jti": fresh(nil), "without jti": fresh(claims{"jti": nil})} {
		t.Run(name, func(t *testing.T) {
			first := signed(t, key, jose.ES256, kid1, c)
			second := flipS(t, first)
			if first == second {
				t.Fatal("the signature was not varied")
			}
			a, err := e.Verify(t.Context(), first)
			if err != nil {
				t.Fatal(err)
			}
			b, err := e.Verify(t.Context(), second)
			if err != nil {
				t.Fatalf("the varied signature is valid, too: %v", err)
			}
			if a.OneTime.ID != b.OneTime.ID {
				t.Errorf("ids %s and %s; want one", a.OneTime.ID, b.OneTime.ID)
			}
		})
	}
}

// flipS replaces s by n-s, which verifies as well.
func flipS(t *testing.T, token string) string {
	t.Helper()
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return token[:dot+1] + base64.RawURLEncoding.EncodeToString(signature)
}

func TestInvariant17JWKTokenFaults(t *testing.T) {
	key, other := newECKey(t), newECKey(t)
	e := newEnroller(t, jwkPlatform(t, key,
		enroll.Rule{Service: "billing", Subject: "job-7"},
		enroll.Rule{Service: "web", Subject: "job-9"},
		enroll.Rule{Service: "db", Claims: map[string]string{"env": "both"}}))
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	good := strings.Split(signed(t, key, jose.ES256, kid1, fresh(nil)), ".")
	es256 := func(c claims) string { return signed(t, key, jose.ES256, kid1, c) }
	tests := []struct {
		name, token string
		code        api.Code
		want        string
	}{
		{"expired", es256(fresh(claims{"exp": in(-2 * time.Minute)})), api.CodeTokenExpired, "expired at"},
		{"future", es256(fresh(claims{"nbf": in(2 * time.Minute)})), api.CodeTokenExpired, "not valid before"},
		{"made in the future", es256(fresh(claims{"iat": in(2 * time.Minute)})), api.CodeTokenExpired, "not valid before"},
		{"no expiry", es256(fresh(claims{"exp": nil})), api.CodeTokenInvalid, "no expiry"},
		{"eternal", es256(fresh(claims{"exp": in(100 * 24 * time.Hour)})), api.CodeTokenInvalid, "valid for more"},
		{"other key", signed(t, other, jose.ES256, kid1, fresh(nil)), api.CodeTokenInvalid, "does not accept"},
		{"other CA", es256(fresh(claims{"aud": "https://other.example.org:9000/v1/enroll"})), api.CodeTokenInvalid, "does not accept"},
		{"audience on another port", es256(fresh(claims{"aud": "https://ca.example.org:9001/v1/enroll"})), api.CodeTokenInvalid, "wants the audience"},
		{"no audience", es256(fresh(claims{"aud": nil})), api.CodeTokenInvalid, "does not accept"},
		{"unknown issuer", es256(fresh(claims{"iss": "cd"})), api.CodeTokenInvalid, "none that this CA trusts"},
		{"unknown key id", signed(t, key, jose.ES256, map[string]any{"kid": "k2"}, fresh(nil)), api.CodeTokenInvalid, "none that this CA trusts"},
		{"no subject", es256(fresh(claims{"sub": nil})), api.CodeTokenInvalid, "no subject"},
		{"numeric subject", es256(fresh(claims{"sub": 7})), api.CodeTokenInvalid, "malformed"},
		{"alg none", segment(`{"alg":"none","kid":"k1"}`) + "." + good[1] + ".AAAA", api.CodeTokenInvalid, "algorithm"},
		{"public key as a MAC's", signed(t, public, jose.HS256, kid1, fresh(nil)), api.CodeTokenInvalid, "algorithm"},
		{"brings its own key", signed(t, jose.JSONWebKey{Key: other, KeyID: "k1"}, jose.ES256, map[string]any{"jwk": jose.JSONWebKey{Key: other.Public()}}, fresh(nil)), api.CodeTokenInvalid, ""},
		{"points to a key", signed(t, key, jose.ES256, map[string]any{"kid": "k1", "jku": "https://evil.example"}, fresh(nil)), api.CodeTokenInvalid, "jku"},
		{"unencoded payload", segment(`{"alg":"ES256","kid":"k1","crit":["b64"],"b64":false}`) + "." + good[1] + "." + good[2], api.CodeTokenInvalid, ""},
		{"not an ID token", signed(t, key, jose.ES256, map[string]any{"kid": "k1", "typ": "at+jwt"}, fresh(nil)), api.CodeTokenInvalid, "type"},
		{"duplicate header", segment(`{"alg":"none","kid":"k1","alg":"ES256"}`) + "." + good[1] + "." + good[2], api.CodeTokenInvalid, "well-formed"},
		{"bound to a CSR", es256(fresh(claims{"cnf": claims{"x5rt#S256": segment("01234567890123456789012345678901")}})), api.CodeTokenInvalid, "cnf"},
		{"speaks for another authority", es256(fresh(claims{"step": claims{"ra": claims{"authorityId": "a"}}})), api.CodeTokenInvalid, "stands in"},
		{"no rule", es256(fresh(claims{"sub": "job-77"})), api.CodeRefused, "no rule"},
		{"other case", es256(fresh(claims{"sub": "JOB-7"})), api.CodeRefused, "no rule"},
		{"two rules", es256(fresh(claims{"env": "both"})), api.CodeRefused, "more than one rule"},
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

func TestProvidersAreChecked(t *testing.T) {
	key := newECKey(t)
	rules := []enroll.Rule{{Service: "web", Subject: "x"}}
	_, root := newPKI(t)
	leafPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newLeaf(t, root, key.Public(), nil).Raw})
	jwk := func(c enroll.JWK) enroll.Platforms { return enroll.Platforms{JWK: []enroll.JWK{c}} }
	x5c := func(c enroll.X5C) enroll.Platforms { return enroll.Platforms{X5C: []enroll.X5C{c}} }
	oidc := func(c enroll.OIDC) enroll.Platforms { return enroll.Platforms{OIDC: []enroll.OIDC{c}} }
	public := jwkJSON(t, key.Public(), "k")
	tests := []struct {
		name      string
		platforms enroll.Platforms
		want      string
	}{
		{"jwk without a name", jwk(enroll.JWK{Key: public, Rules: rules}), "jwk[0]: name"},
		{"private key", jwk(enroll.JWK{Name: "a", Key: jwkJSON(t, key, "k"), Rules: rules}), "private"},
		{"symmetric key", jwk(enroll.JWK{Name: "a", Key: jwkJSON(t, []byte("0123456789abcdef"), "k"), Rules: rules}), "symmetric"},
		{"no key id", jwk(enroll.JWK{Name: "a", Key: jwkJSON(t, key.Public(), ""), Rules: rules}), "kid"},
		{"not a key", jwk(enroll.JWK{Name: "a", Key: []byte("{"), Rules: rules}), "RFC 7517"},
		{"no rules", jwk(enroll.JWK{Name: "a", Key: public}), "rules"},
		{"rule without a condition", jwk(enroll.JWK{Name: "a", Key: public, Rules: []enroll.Rule{{Service: "web"}}}), "no condition"},
		{"rule for an operator", jwk(enroll.JWK{Name: "a", Key: public, Rules: []enroll.Rule{{Service: "handfast/operator/a", Subject: "x"}}}), "belong to the CA"},
		{"rule by a certificate", jwk(enroll.JWK{Name: "a", Key: public, Rules: []enroll.Rule{{Service: "web", DNS: "x"}}}), "need x5c"},
		{"empty claim", jwk(enroll.JWK{Name: "a", Key: public, Rules: []enroll.Rule{{Service: "web", Claims: map[string]string{"env": ""}}}}), "empty"},
		{"same key twice", enroll.Platforms{JWK: []enroll.JWK{{Name: "a", Key: public, Rules: rules}, {Name: "a", Key: public, Rules: rules}}}, "jwk[1]"},
		{"x5c by subject", x5c(enroll.X5C{Name: "a", Roots: root.pem(), Rules: rules}), "own choice"},
		{"x5c without roots", x5c(enroll.X5C{Name: "a", Rules: rules}), "roots"},
		{"leaf as a root", x5c(enroll.X5C{Name: "a", Roots: leafPEM, Rules: []enroll.Rule{{Service: "web", DNS: "x"}}}), "not a CA's"},
		{"oidc without a client", oidc(enroll.OIDC{Name: "a", Issuer: "https://idp", Rules: rules}), "client_id"},
		{"oidc without TLS", oidc(enroll.OIDC{Name: "a", Issuer: "http://idp", ClientID: "c", Rules: rules}), "https"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := enroll.Config{TrustDomain: mustTD(t), NativeKey: nativeKey, URL: apiURL, Fingerprint: fingerprint, Platforms: tt.platforms}
			if _, err := enroll.New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v; want %q in it", err, tt.want)
			}
		})
	}
}
