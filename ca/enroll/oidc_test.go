package enroll_test

import (
	"crypto/ecdsa"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/enroll"
)

// idp is an OpenID Connect issuer with its discovery document and key set.
type idp struct {
	*httptest.Server
	fetches atomic.Int32 // of the discovery document
	keyed   atomic.Int32 // fetches of the key set

	mu      sync.Mutex // guards what tests change
	key     *ecdsa.PrivateKey
	kid     string
	jwksURI string // "" is its own
	issuer  string // "" is its own
	maxAge  string // of its documents, in seconds; "" says nothing
	fail    func(http.ResponseWriter, *http.Request) bool
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	p := &idp{key: newECKey(t), kid: "2024"}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *idp) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.URL.Path == "/.well-known/openid-configuration" {
		p.fetches.Add(1)
	}
	if r.URL.Path == "/keys" {
		p.keyed.Add(1)
	}
	if p.maxAge != "" {
		w.Header().Set("Cache-Control", "max-age="+p.maxAge)
	}
	if p.fail != nil && p.fail(w, r) {
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		uri, issuer := p.URL+"/keys", p.URL
		if p.jwksURI != "" {
			uri = p.jwksURI
		}
		if p.issuer != "" {
			issuer = p.issuer
		}
		json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": uri}) //nolint:errcheck // the client would notice
	case "/keys":
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: p.kid, Use: "sig"}}}) //nolint:errcheck // as above
	default:
		http.NotFound(w, r)
	}
}

func (p *idp) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *idp) token(t *testing.T, edits claims) string {
	t.Helper()
	c := fresh(claims{"iss": p.URL, "aud": "handfast", "sub": "repo:acme/web:main"})
	for name, value := range edits {
		c[name] = value
	}
	return signed(t, p.key, jose.ES256, map[string]any{"kid": p.kid}, c)
}

func (p *idp) platform(rules ...enroll.Rule) enroll.OIDC {
	return enroll.OIDC{
		Name: "ci", Issuer: p.URL, ClientID: "handfast", Rules: rules,
		Roots: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}),
	}
}

var bySubject = enroll.Rule{Service: "web", Subject: "repo:acme/web:main"}

func newOIDCEnroller(t *testing.T, at *clock, platform enroll.OIDC) (*enroll.Enroller, *strings.Builder) {
	t.Helper()
	var log strings.Builder
	return newEnroller(t, func(c *enroll.Config) {
		c.Platforms.OIDC = []enroll.OIDC{platform}
		c.Now = at.now
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}), &log
}

func TestOIDCToken(t *testing.T) {
	p := newIDP(t)
	e, _ := newOIDCEnroller(t, newClock(), p.platform(
		bySubject,
		enroll.Rule{Service: "mail", Email: "mail@acme.example"},
		enroll.Rule{Service: "deploy", Claims: map[string]string{"environment": "prod"}},
	))
	tests := []struct {
		name  string
		edits claims
		want  string
		code  api.Code
	}{
		{"by subject", nil, "web", ""},
		{"by verified email", claims{"sub": "7", "email": "mail@acme.example", "email_verified": true}, "mail", ""},
		{"email not verified", claims{"sub": "7", "email": "mail@acme.example"}, "", api.CodeRefused},
		{"email verified by a word", claims{"sub": "7", "email": "mail@acme.example", "email_verified": "true"}, "", api.CodeTokenInvalid},
		{"by claim", claims{"sub": "7", "environment": "prod"}, "deploy", ""},
		{"claim of another type", claims{"sub": "7", "environment": true}, "", api.CodeRefused},
		{"no rule", claims{"sub": "repo:acme/web:fork"}, "", api.CodeRefused},
		{"two rules", claims{"environment": "prod"}, "", api.CodeRefused},
		{"other audience", claims{"aud": "someone-else"}, "", api.CodeTokenInvalid},
		{"other authorized party", claims{"azp": "someone-else"}, "", api.CodeTokenInvalid},
		{"other issuer", claims{"iss": "https://idp.example.org"}, "", api.CodeTokenInvalid},
		{"expired", claims{"exp": time.Now().Add(-2 * time.Minute).Unix()}, "", api.CodeTokenExpired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claim, err := e.Verify(t.Context(), p.token(t, tt.edits))
			if tt.code != "" {
				wantCode(t, err, tt.code, "")
				return
			}
			if err != nil || claim.Service != tt.want || claim.Method != ca.MethodOIDC {
				t.Fatalf("claim = %+v, %v; want service %s", claim, err, tt.want)
			}
		})
	}
	if n := p.fetches.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times; want once", n)
	}
}

func TestOIDCIssuerAwayFailsClosedAndRecovers(t *testing.T) {
	p := newIDP(t)
	p.change(func() {
		p.fail = func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, `{"keys":[]}`, http.StatusInternalServerError)
			return true
		}
	})
	at := newClock()
	e, log := newOIDCEnroller(t, at, p.platform(bySubject)) // starting does not need the issuer
	for range 5 {
		_, err := e.Verify(t.Context(), p.token(t, nil))
		wantCode(t, err, api.CodeUnavailable, "cannot be reached")
	}
	if n := p.fetches.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times at once; want one attempt, then a pause", n)
	}
	if !strings.Contains(log.String(), "500") {
		t.Errorf("log = %q; want the cause in it", log)
	}
	p.change(func() { p.fail = nil })
	at.Time = at.Add(2 * time.Second) // over the first pause
	if claim, err := e.Verify(t.Context(), p.token(t, nil)); err != nil || claim.Service != "web" {
		t.Fatalf("after the issuer came back: %+v, %v", claim, err)
	}
}

func TestOIDCFetchesStayWhereTheyBelong(t *testing.T) {
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked for %s", r.Host, r.URL)
	}))
	t.Cleanup(elsewhere.Close)
	tests := []struct {
		name    string
		prepare func(*idp)
		want    string // in the log
	}{
		{"redirect", func(p *idp) {
			p.fail = func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, elsewhere.URL, http.StatusFound)
				return true
			}
		}, "not followed"},
		{"keys on another host", func(p *idp) { p.jwksURI = elsewhere.URL + "/keys" }, "is not allowed"},
		{"keys without TLS", func(p *idp) { p.jwksURI = "http://169.254.169.254/latest" }, "https only"},
		{"endless document", func(p *idp) {
			p.fail = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Write([]byte(`{"issuer":"` + strings.Repeat("x", 2<<20))) //nolint:errcheck // the client hangs up
				return true
			}
		}, "document over"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newIDP(t)
			p.change(func() { tt.prepare(p) })
			e, log := newOIDCEnroller(t, newClock(), p.platform(bySubject))
			_, err := e.Verify(t.Context(), p.token(t, nil))
			wantCode(t, err, api.CodeUnavailable, "")
			if !strings.Contains(log.String(), tt.want) {
				t.Errorf("log = %q; want %q in it", log, tt.want)
			}
		})
	}
}

func TestOIDCDocumentOfAnotherIssuerIsUseless(t *testing.T) {
	p := newIDP(t)
	p.change(func() { p.issuer = "https://accounts.example.org" })
	e, _ := newOIDCEnroller(t, newClock(), p.platform(bySubject))
	_, err := e.Verify(t.Context(), p.token(t, nil))
	wantCode(t, err, api.CodeTokenInvalid, "does not accept")
	_, err = e.Verify(t.Context(), p.token(t, claims{"iss": "https://accounts.example.org"}))
	wantCode(t, err, api.CodeTokenInvalid, "none that this CA trusts")
}

func TestOIDCKeyRotation(t *testing.T) {
	p := newIDP(t)
	at := newClock()
	e, _ := newOIDCEnroller(t, at, p.platform(bySubject))
	if _, err := e.Verify(t.Context(), p.token(t, nil)); err != nil {
		t.Fatal(err)
	}
	old := p.token(t, nil)
	p.change(func() { p.key, p.kid = newECKey(t), "2025" })
	for range 20 {
		_, err := e.Verify(t.Context(), p.token(t, nil))
		wantCode(t, err, api.CodeTokenInvalid, "")
	}
	if n := p.fetches.Load(); n != 1 {
		t.Fatalf("unknown keys caused %d fetches within a minute; want none beyond the first", n)
	}
	at.Time = at.Add(61 * time.Second)
	if claim, err := e.Verify(t.Context(), p.token(t, nil)); err != nil || claim.Service != "web" {
		t.Fatalf("with the new key: %+v, %v", claim, err)
	}
	_, err := e.Verify(t.Context(), old)
	wantCode(t, err, api.CodeTokenInvalid, "")
}

func TestOIDCOutageKeepsTheLastKnownKeys(t *testing.T) {
	p := newIDP(t)
	at := newClock()
	e, _ := newOIDCEnroller(t, at, p.platform(bySubject))
	if _, err := e.Verify(t.Context(), p.token(t, nil)); err != nil {
		t.Fatal(err)
	}
	p.change(func() {
		p.fail = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	})
	at.Time = at.Add(61 * time.Second)
	forged := signed(t, newECKey(t), jose.ES256, map[string]any{"kid": "x"}, fresh(claims{"iss": p.URL, "aud": "handfast"}))
	_, err := e.Verify(t.Context(), forged) // makes it look for new keys, in vain
	wantCode(t, err, api.CodeTokenInvalid, "")
	if _, err := e.Verify(t.Context(), p.token(t, nil)); err != nil {
		t.Fatalf("a known key during an outage: %v", err)
	}
}

func TestOIDCOneAttemptForManyCallers(t *testing.T) {
	p := newIDP(t)
	e, _ := newOIDCEnroller(t, newClock(), p.platform(bySubject))
	token := p.token(t, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := e.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := p.fetches.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times; want once", n)
	}
}
