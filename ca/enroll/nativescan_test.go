package enroll

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/handfast/handfast/ca/api"
)

func minted(t testing.TB) string {
	t.Helper()
	payload, err := json.Marshal(nativeClaims{
		Issuer: api.TokenIssuer, Audience: "prod.example", Subject: "shop/web-1", ID: "PRzr4llnal9jcWPwMGE1vUVke-I",
		IssuedAt: 1700000000, NotBefore: 1700000000, Expiry: 1700000900, CA: "https://ca.example:8443", Fingerprint: strings.Repeat("ab", 32),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

func TestScanReadsWhatMintWrites(t *testing.T) {
	good := minted(t)
	if _, ok := scanNativeClaims([]byte(good)); !ok {
		t.Fatalf("not read: %s", good)
	}
	for name, payload := range map[string]string{
		"blank":           strings.Replace(good, ",", ", ", 1),
		"something after": good + " ",
		"another field":   strings.Replace(good, "}", `,"x":1}`, 1),
		"missing field":   strings.Replace(good, `"nbf":1700000000,`, "", 1),
		"escape":          strings.Replace(good, "shop/", `shop\/`, 1),
		"not ASCII":       strings.Replace(good, "shop", "\u015bhop", 1),
		"fraction":        strings.Replace(good, "1700000900", "1700000900.5", 1),
		"exponent":        strings.Replace(good, "1700000900", "17e8", 1),
		"negative":        strings.Replace(good, "1700000900", "-1700000900", 1),
		"leading zero":    strings.Replace(good, "1700000900", "01700000900", 1),
		"too large":       strings.Replace(good, "1700000900", "99999999999999999999", 1),
		"cut":             good[:len(good)-5],
		"nothing":         "",
	} {
		if _, ok := scanNativeClaims([]byte(payload)); ok {
			t.Errorf("%s: read: %s", name, payload)
		}
	}
}

// What is scanned means the same to encoding/json.
func FuzzScanNativeClaims(f *testing.F) {
	f.Add([]byte(minted(f)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		scanned, ok := scanNativeClaims(payload)
		if !ok {
			return
		}
		if decoded, err := decodeNativeClaims(payload); err != nil || decoded != scanned {
			t.Fatalf("%q is scanned as %+v; encoding/json: %+v, %v", payload, scanned, decoded, err)
		}
	})
}
