package certs

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

func TestParseSerial(t *testing.T) {
	for _, test := range []struct{ in, out string }{
		{"01", "01"},
		{"1", "01"},
		{"00ff", "ff"},
		{"AB:cd:EF", "abcdef"},
		{strings.Repeat("7f", 20), strings.Repeat("7f", 20)},
		{"00" + strings.Repeat("ff", 20), strings.Repeat("ff", 20)},
		{"", ""},
		{"0", ""},
		{"0000", ""},
		{"-1", ""},
		{"0x10", ""},
		{"xyz", ""},
		{strings.Repeat("7f", 21), ""},
		{strings.Repeat("0", 5000), ""},
	} {
		s, err := ParseSerial(test.in)
		if (err == nil) != (test.out != "") || s.String() != test.out {
			t.Errorf("ParseSerial(%q) = %q, %v; want %q", test.in, s, err, test.out)
		}
	}
}

func TestSerialFromInt(t *testing.T) {
	for _, n := range []*big.Int{nil, big.NewInt(0), big.NewInt(-5), new(big.Int).Lsh(big.NewInt(1), 160)} {
		if s, err := SerialFromInt(n); err == nil {
			t.Errorf("%v gives %v", n, s)
		}
	}
	n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 160), big.NewInt(1))
	s, err := SerialFromInt(n)
	if err != nil || s.Int().Cmp(n) != 0 || len(s.Bytes()) != MaxSerialOctets {
		t.Errorf("the highest serial: %v, %v", s, err)
	}
}

func TestSerialJSON(t *testing.T) {
	var got struct{ A, B Serial }
	if err := json.Unmarshal([]byte(`{"A":"0A","B":""}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.A.String() != "0a" || !got.B.IsZero() {
		t.Errorf("%+v", got)
	}
	if err := json.Unmarshal([]byte(`{"A":"zz"}`), &got); err == nil {
		t.Error("zz was read")
	}
}

// FuzzParseSerial: what is read is positive, at most 20 octets, and survives each way back.
func FuzzParseSerial(f *testing.F) {
	for _, seed := range []string{"01", "ab:cd", "00", strings.Repeat("f", 40), "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseSerial(in)
		if err != nil {
			if !s.IsZero() {
				t.Fatalf("%q fails, but gives %v", in, s)
			}
			return
		}
		if s.Int().Sign() <= 0 || len(s.Bytes()) > MaxSerialOctets || s.Bytes()[0] == 0 {
			t.Fatalf("%q gives %v", in, s)
		}
		again, err1 := ParseSerial(s.String())
		number, err2 := SerialFromInt(s.Int())
		octets, err3 := SerialFromBytes(s.Bytes())
		if err1 != nil || err2 != nil || err3 != nil || again != s || number != s || octets != s {
			t.Fatalf("%q: %v, %v, %v, %v", in, s, again, number, octets)
		}
		if !bytes.Equal(s.Int().Bytes(), s.Bytes()) {
			t.Fatalf("%q: the number and the octets differ", in)
		}
	})
}
