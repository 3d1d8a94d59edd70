package enroll_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/enroll"
	"github.com/handfast/handfast/certs"
)

const (
	apiURL      = "https://ca.example.org:9000"
	audience    = apiURL + api.PathEnroll
	fingerprint = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

var nativeKey = bytes.Repeat([]byte("canary-K"), 4)

// clock is a clock that tests move. The provisioners read the real one, so it
// starts there.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func newClock() *clock { return &clock{time.Now().Truncate(time.Second)} }

func newEnroller(t testing.TB, change func(*enroll.Config)) *enroll.Enroller {
	t.Helper()
	cfg := enroll.Config{TrustDomain: mustTD(t), NativeKey: nativeKey, URL: apiURL, Fingerprint: fingerprint}
	if change != nil {
		change(&cfg)
	}
	e, err := enroll.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// wantCode fails unless err is an *api.Error with code and text in its message.
func wantCode(t testing.TB, err error, code api.Code, text string) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v; want an *api.Error with code %s", err, code)
	}
	if e.Code != code || !strings.Contains(e.Message, text) {
		t.Fatalf("error = %v; want code %s and %q in it", err, code, text)
	}
}

func segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// sealed makes a token of any header and payload with a right MAC.
func sealed(key []byte, header, payload string) string {
	input := segment(header) + "." + segment(payload)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func mustTD(t testing.TB) certs.TrustDomain {
	t.Helper()
	td, err := certs.ParseTrustDomain("prod.example.org")
	if err != nil {
		t.Fatal(err)
	}
	return td
}
