package api_test

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
)

func TestIssuedIsEncodedAsByJSON(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 123456789, time.UTC)
	for _, issued := range []api.Issued{
		{},
		{Chain: [][]byte{{}, nil, {1}, {1, 2}, {1, 2, 3}}, Roots: [][]byte{}, RenewAfter: at, Grace: api.Duration(time.Hour)},
		{Chain: [][]byte{bytes.Repeat([]byte{0xfb, 0xff, 0xfe}, 300)}, Roots: [][]byte{{0xff}}, RenewAfter: at.Truncate(time.Second), Grace: math.MinInt64},
	} {
		want, err := json.Marshal(issued)
		if err != nil {
			t.Fatal(err)
		}
		got, err := issued.Encode()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
	if _, err := (api.Issued{RenewAfter: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}).Encode(); err == nil {
		t.Error("a year of five digits is accepted")
	}
}

func BenchmarkIssued(b *testing.B) {
	der := bytes.Repeat([]byte{0x30, 0x82, 7}, 270)
	issued := api.Issued{Chain: [][]byte{der, der[:500]}, Roots: [][]byte{der[:400]}, RenewAfter: time.Unix(1700000000, 0).UTC(), Grace: api.Duration(24 * time.Hour)}
	b.Run("Encode", func(b *testing.B) {
		for b.Loop() {
			if _, err := issued.Encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Marshal", func(b *testing.B) {
		for b.Loop() {
			if _, err := json.Marshal(issued); err != nil {
				b.Fatal(err)
			}
		}
	})
}
