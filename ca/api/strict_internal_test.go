package api

import (
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
		if got := flat([]byte(text)); got != want {
			t.Errorf("flat(%s) = %v", text, got)
		}
	}
}

// FuzzFlat: what is flat is what the full check lets pass.
func FuzzFlat(f *testing.F) {
	for _, seed := range []string{`{"token":"a","csr":"b"}`, `{"a":"","b":""}`, `{"a":"\\"}`, "{\"a\":\"\x7f\"}", strings.Repeat("{", 9)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !flat(data) {
			return
		}
		if err := checkObject(data, lowerKey); err != nil {
			t.Fatalf("flat, and refused: %v: %q", err, data)
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
