package api_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/handfast/handfast/ca/api"
)

func TestDecodeStrict(t *testing.T) {
	for _, test := range []struct{ name, body, says string }{
		{"good", `{"token":"t","csr":"AAAA"}`, ""},
		{"blanks around", " \n{\"token\":\"t\"}\t\n", ""},
		{"empty object", `{}`, ""},
		{"nothing", ``, "ends too early"},
		{"blanks", ` `, "ends too early"},
		{"null", `null`, "not a JSON object"},
		{"array", `[{}]`, "not a JSON object"},
		{"string", `"x"`, "not a JSON object"},
		{"unknown", `{"token":"t","admin":true}`, `unknown field "admin"`},
		{"upper case", `{"Token":"t"}`, `unknown field "Token"`},
		{"Kelvin sign folds to k", "{\"to\u212aen\":\"t\"}", "unknown field"},
		{"escaped key", `{"\u0074oken":"t","token":"u"}`, "twice"},
		{"twice", `{"csr":"AAAA","csr":"BBBB"}`, `field "csr" stands there twice`},
		{"empty key", `{"":1}`, "unknown field"},
		{"second object", `{}{}`, "follows"},
		{"second value", `{} 1`, "follows"},
		{"garbage behind", `{}x`, "follows"},
		{"cut", `{"token":`, "ends too early"},
		{"trailing comma", `{"token":"t",}`, "malformed"},
		{"not UTF-8", "{\"token\":\"\xff\"}", "not UTF-8"},
		{"wrong type", `{"token":{"a":1}}`, `field "token": expected string`},
		{"not base64", `{"csr":"!"}`, "base64"},
		{"deep", `{"token":` + strings.Repeat(`{"a":`, 100), "nested deeper than 8"},
		{"deep arrays", `{"token":` + strings.Repeat(`[`, 100000), "nested deeper than 8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := api.DecodeStrict([]byte(test.body), &api.EnrollRequest{})
			if test.says == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("error %v; want %q in it", err, test.says)
			}
		})
	}
}

func TestDecodeStrictQuotesNoValue(t *testing.T) {
	for _, body := range []string{
		`{"token":["canary"]}`, `{"csr":"canary!"}`, `{"token":"canary","csr":7}`, `{"token":"canary"`, `{"token":"canary"}canary`, `{"token":"canary","x":"canary"}`,
	} {
		err := api.DecodeStrict([]byte(body), &api.EnrollRequest{})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// A value of a type with a text form of its own is not quoted either, nor is a long name.
func TestDecodeStrictQuotesNoTypedValue(t *testing.T) {
	for _, test := range []struct {
		body string
		into any
		says string
	}{
		{`{"ttl":"canary"}`, &api.IssueRequest{}, "use a number and a unit"},
		{`{"ttl":"can\"ary"}`, &api.IssueRequest{}, "use a number and a unit"},
		{`{"serial":"canary"}`, &api.RevokeRequest{}, "not hexadecimal"},
		{`{"reason":"canary"}`, &api.RevokeRequest{}, "is unknown"},
		{`{"signed_at":"canary"}`, &api.RekeyRequest{}, "RFC 3339"},
		{`{"name":"x","id":"spiffe://canary"}`, &api.Service{}, "has no path"},
		{`{"` + strings.Repeat("canary", 10000) + `":1}`, &api.Service{}, "unknown field"},
	} {
		err := api.DecodeStrict([]byte(test.body), test.into)
		if err == nil || !strings.Contains(err.Error(), test.says) || len(err.Error()) > 150 {
			t.Errorf("%.80s: %.300v; want %q in few words", test.body, err, test.says)
		} else if strings.Contains(err.Error(), "ary") && test.says != "unknown field" {
			t.Errorf("%.80s: the value is quoted: %v", test.body, err)
		}
	}
}

// Whatever is accepted means the same to a second reader: it survives being written and
// read again, and encoding/json by itself reads the same out of it.
func FuzzDecodeStrict(f *testing.F) {
	for _, seed := range []string{
		`{"services":[{"name":"web","dns":["a"],"ips":["10.0.0.1"],"callers":["*"],"ttl":"1h"}],"prune":true}`,
		`{"services":null}`, `{"services":[null]}`, `{"services":[{}],"services":[]}`, `{}`, `null`, `{"SERVICES":[]}`, `{"dry_run":true} x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var first api.ApplyRequest
		if api.DecodeStrict(data, &first) != nil {
			return
		}
		var plain api.ApplyRequest
		if err := json.Unmarshal(data, &plain); err != nil || !reflect.DeepEqual(first, plain) {
			t.Fatalf("encoding/json reads something else: %v, %+v, %+v", err, first, plain)
		}
		written, err := json.Marshal(first)
		if err != nil {
			t.Fatalf("accepted %+v cannot be written: %v", first, err)
		}
		var second api.ApplyRequest
		if err := api.DecodeStrict(written, &second); err != nil {
			t.Fatalf("what was written is refused: %v: %s", err, written)
		}
		again, err := json.Marshal(second)
		if err != nil || !bytes.Equal(written, again) {
			t.Fatalf("reading and writing again changed it: %s, %s, %v", written, again, err)
		}
	})
}
