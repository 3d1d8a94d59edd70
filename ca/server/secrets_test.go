package server_test

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
)

func TestTokensThatAreNotGood(t *testing.T) {
	w := newWorld(t)
	token := w.register("web")
	c := w.client(nil)
	csr := newCSR(t, newKey(t))
	enrol := func(token string) error {
		_, err := c.Enroll(t.Context(), &api.EnrollRequest{Token: token, CSR: csr}, "")
		return err
	}
	parts := strings.Split(token, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"handfast-enrol+jwt"}`))
	is(t, enrol(none+"."+parts[1]+"."), api.CodeTokenInvalid)
	is(t, enrol(none+"."+parts[1]+"."+parts[2]), api.CodeTokenInvalid)
	is(t, enrol(parts[0]+"."+parts[1]+".AAAA"), api.CodeTokenInvalid)
	is(t, enrol("x"), api.CodeTokenInvalid)
	_, err := c.Enroll(t.Context(), &api.EnrollRequest{Token: token, CSR: csr[:len(csr)-1]}, "")
	is(t, err, api.CodeBadCSR)
	w.advance(time.Hour)
	is(t, enrol(token), api.CodeTokenExpired)
}

// Invariant 18: what must stay secret is searched for in everything that was logged.
func TestSecretsNeverReachTheLog(t *testing.T) {
	w := newWorld(t)
	token := w.register("web")
	agent, id := w.enrol(token)
	key := newKey(t)
	_, err := agent.Renew(t.Context(), &api.RenewRequest{CSR: newCSR(t, key)}, "")
	must(t, err)
	anonymous := w.client(nil)
	for _, misplaced := range []func() error{ // secrets where they do not belong
		func() error {
			_, err := anonymous.Enroll(t.Context(), &api.EnrollRequest{Token: token, CSR: []byte(token)}, "")
			return err
		},
		func() error {
			_, err := anonymous.Enroll(t.Context(), &api.EnrollRequest{Token: token + "x", CSR: newCSR(t, key)}, "")
			return err
		},
		func() error { _, err := w.admin.Service(t.Context(), token); return err },
		func() error {
			_, err := w.admin.CreateToken(t.Context(), &api.TokenRequest{Service: token})
			return err
		},
		func() error {
			_, err := w.admin.PutService(t.Context(), &api.Service{Name: "x", Callers: []string{token}}, 0)
			return err
		},
	} {
		if misplaced() == nil {
			t.Error("a token was taken for something else")
		}
	}
	_, err = w.admin.Services(t.Context(), api.ServiceQuery{Search: token}) // finds nothing
	must(t, err)
	log := w.logs.String()
	if !strings.Contains(log, `"event":"issued"`) || !strings.Contains(log, "POST /v1/renew") {
		t.Fatalf("the log has nothing of what happened:\n%s", log)
	}
	secrets := map[string]string{"token": token, "token's MAC": token[strings.LastIndex(token, ".")+1:], "token key": strings.Repeat("\x07", 32)}
	for name, key := range map[string]crypto.Signer{"first key": id.key, "second key": key, "operator's key": w.adminID.key} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		tail := der[36:68] // the private scalar of a P-256 key in PKCS #8
		secrets[name+" in base64"] = base64.StdEncoding.EncodeToString(der)[48:88]
		secrets[name+" in hexadecimal"] = hex.EncodeToString(tail)
		secrets[name+" raw"] = string(tail)
	}
	for name, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds the %s", name)
		}
	}
	if strings.Contains(log, "PRIVATE KEY") {
		t.Error("the log holds a PEM key")
	}
}
