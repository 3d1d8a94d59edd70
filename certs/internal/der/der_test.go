package der

import (
	"bytes"
	"encoding/asn1"
	"math"
	"math/big"
	"testing"
)

func TestSameAsEncodingASN1(t *testing.T) {
	for _, n := range []uint64{0, 1, 127, 128, 255, 256, 1<<31 - 1, 1 << 31, 1<<63 - 1, 1 << 63, math.MaxUint64} {
		want, err := asn1.Marshal(new(big.Int).SetUint64(n))
		if err != nil {
			t.Fatal(err)
		}
		got := AppendUint(nil, n)
		if !bytes.Equal(got, want) {
			t.Errorf("%d is %x, want %x", n, got, want)
		}
		value := Value(got)
		if back, err := value.ReadUint(); err != nil || back != n || len(value) != 0 {
			t.Errorf("%d is read as %d, %v", n, back, err)
		}
	}
	for _, length := range []int{0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 24} {
		content := make([]byte, length)
		want, err := asn1.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		got := Append(nil, OctetString, content[:length/2], content[length/2:])
		if !bytes.Equal(got, want) {
			t.Errorf("%d octets differ", length)
		}
		value := Value(got)
		if back, whole, err := value.Read(OctetString); err != nil || len(back) != length || len(whole) != len(got) || len(value) != 0 {
			t.Errorf("%d octets are read as %d, %v", length, len(back), err)
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing": {}, "a tag alone": {Integer}, "cut off": {Integer, 2, 1}, "an indefinite length": {Integer, 0x80, 1, 0, 0},
		"a length that is not minimal": {Integer, 0x81, 1, 1}, "one with a zero in front": {Integer, 0x82, 0, 0x80}, "a length of five octets": {Integer, 0x85, 1, 0, 0, 0, 0},
		"a multi-byte tag": {0x1f, 1, 1}, "no octet": {Integer, 0}, "below zero": {Integer, 1, 0x80}, "not minimal": {Integer, 2, 0, 1},
		"over 64 bits": {Integer, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0}, "another tag": {OctetString, 1, 1},
	} {
		value := Value(data)
		if n, err := value.ReadUint(); err == nil {
			t.Errorf("%s: %d", name, n)
		}
	}
}

// FuzzNext: the values that are read are what stands there, and encoded again they are the same octets.
func FuzzNext(f *testing.F) {
	f.Add(Append(AppendUint(nil, 300), Sequence, AppendUint(nil, 1), make([]byte, 200)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var again []byte
		for rest := Value(data); ; {
			tag, content, whole, err := rest.Next()
			if err != nil {
				break
			}
			if next := Append(nil, tag, content); !bytes.Equal(next, whole) {
				t.Fatalf("%x is encoded as %x", whole, next)
			}
			again = append(again, whole...)
		}
		if !bytes.HasPrefix(data, again) {
			t.Fatal("other octets than were there")
		}
	})
}
