package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestFlatIsWhatClientsSend(t *testing.T) {
	for text, want := range map[string]bool{
		`{"token":"a.b-c","csr":"MIIB/+=="}`: true,
		`{"csr":""}`:                         true,
		`{}`:                                 false,
		`{"csr":"a"}x`:                       false,
		`{"csr":"a","csr":"b"}`:              false,
		`{"CSR":"a"}`:                        false,
		`{"csr":"a\\u0041"}`:                 false,
		`{"csr":"a\n"}`:                      false,
		`{"csr":["a"]}`:                      false,
		`{"csr":"a",}`:                       false,
		`{"csr":"a"`:                         false,
		`{"csr":"a`:                          false,
		`{"csr":`:                            false,
		`{"csr"`:                             false,
		`{`:                                  false,
		"":                                   false,
	} {
		if _, got := flat([]byte(text), nil); got != want {
			t.Errorf("flat(%s) = %v", text, got)
		}
	}
}

// FuzzFlat: what is flat is what the full check lets pass.
func FuzzFlat(f *testing.F) {
	for _, seed := range []string{`{"token":"a","csr":"b"}`, `{"a":"","b":""}`, `{"a":"\\"}`, "{\"a\":\"\x7f\"}", strings.Repeat("{", 9),
		`{"token":"a","csr":"QUFB"}`, `{"csr":"QUE="}`, `{"csr":"QUF="}`, `{"csr":"QQ"}`, `{"csr":"","token":""}`, `{"csr":"QUFB","token":"a","x":""}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fields, ok := flat(data, nil)
		if !ok {
			return
		}
		if err := checkObject(data, lowerKey); err != nil {
			t.Fatalf("flat, and refused: %v: %q", err, data)
		}
		var enrolment, expected EnrollRequest
		if enrolment.readFlat(fields) {
			if err := json.Unmarshal(data, &expected); err != nil || !reflect.DeepEqual(enrolment, expected) {
				t.Fatalf("%q is read as %+v; encoding/json: %+v, %v", data, enrolment, expected, err)
			}
		}
		var renewal, wanted RenewRequest
		if renewal.readFlat(fields) {
			if err := json.Unmarshal(data, &wanted); err != nil || !reflect.DeepEqual(renewal, wanted) {
				t.Fatalf("%q is read as %+v; encoding/json: %+v, %v", data, renewal, wanted, err)
			}
		}
	})
}

// BenchmarkDecodeStrict is of a request to enrol.
func BenchmarkDecodeStrict(b *testing.B) {
	body := []byte(`{"token":"` + strings.Repeat("t", 600) + `","csr":"` + strings.Repeat("QUFB", 120) + `"}`)
	for b.Loop() {
		var request EnrollRequest
		if err := DecodeStrict(body, &request); err != nil {
			b.Fatal(err)
		}
	}
}
