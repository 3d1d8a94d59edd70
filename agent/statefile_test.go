package agent

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever decodes, encodes to the same bytes again; whatever was encoded, decodes to the same value.
func FuzzStateFile(f *testing.F) {
	good, err := encodeState(identity{CA: "https://ca:1", Key: []byte{1, 2}, Chain: [][]byte{{3}}, Roots: [][]byte{{4}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(stateMagic))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var fromBytes identity
		if err := decodeState(data, &fromBytes); err == nil {
			again, err := encodeState(fromBytes)
			if err != nil {
				t.Fatal(err)
			}
			var second identity
			if err := decodeState(again, &second); err != nil {
				t.Fatalf("what was decoded cannot be decoded again: %v", err)
			}
			if diff := cmp.Diff(fromBytes, second); diff != "" {
				t.Fatal(diff)
			}
		} else if !errors.Is(err, errCorrupt) {
			t.Fatalf("error %v is not errCorrupt", err)
		}
		// Any body under a sound digest is judged by its JSON, and never panics in parse.
		sealed := sealedWith(data)
		var raw identity
		if decodeState(sealed, &raw) == nil {
			if cred, err := raw.parse(); err == nil && cred.cert.Leaf == nil {
				t.Fatal("an identity without a leaf")
			}
		}
	})
}

func sealedWith(body []byte) []byte {
	sealed, err := encodeState(json.RawMessage(body))
	if err != nil {
		return nil
	}
	return sealed
}
