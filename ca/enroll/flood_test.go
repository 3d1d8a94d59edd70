package enroll_test

import (
	"net/http"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/handfast/handfast/ca/api"
)

// Tokens that anybody can forge must not become requests to the issuer, one for one,
// also where its keys may not be kept, and not while it is away either.
func TestOIDCFloodOfTokensIsNoFloodOfFetches(t *testing.T) {
	p := newIDP(t)
	p.maxAge = "0"
	at := newClock()
	e, _ := newOIDCEnroller(t, at, p.platform(bySubject))
	good := p.token(t, nil)
	forged := signed(t, newECKey(t), jose.ES256, map[string]any{"kid": p.kid}, fresh(claims{"iss": p.URL, "aud": "handfast"}))
	flood := func() {
		t.Helper()
		for range 20 {
			_, err := e.Verify(t.Context(), forged)
			wantCode(t, err, api.CodeTokenInvalid, "")
			if _, err := e.Verify(t.Context(), good); err != nil {
				t.Fatal(err)
			}
		}
	}
	flood()
	if n := p.keyed.Load(); n != 1 {
		t.Errorf("%d fetches of the keys; want one", n)
	}
	at.Time = at.Add(31 * time.Second)
	flood()
	if n := p.keyed.Load(); n != 2 {
		t.Errorf("%d fetches of the keys half a minute later; want a second one", n)
	}
	p.change(func() {
		p.fail = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	})
	at.Time = at.Add(31 * time.Second)
	before := p.keyed.Load()
	flood() // by the keys that are known
	if n := p.keyed.Load() - before; n != 1 {
		t.Errorf("%d fetches of the keys during an outage; want one attempt", n)
	}
}
