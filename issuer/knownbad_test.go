package issuer

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadKeyListRefusals(t *testing.T) {
	good := strings.Repeat("0f", 32)
	for name, text := range map[string]string{
		"short":    good[2:],
		"long":     good + "00",
		"words":    "key one",
		"PEM":      "-----BEGIN PUBLIC KEY-----",
		"a colon":  good[:2] + ":" + good[3:],
		"oversize": good + " " + strings.Repeat("x", 5000),
	} {
		if _, err := ReadKeyList("list", strings.NewReader(good+"\n"+text)); err == nil || !strings.Contains(err.Error(), "list") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadKeyList("list", io.MultiReader(strings.NewReader(good), brokenReader{})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read error: %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzReadKeyList(f *testing.F) {
	f.Add(strings.Repeat("0f", 32) + " remark\n# comment\n")
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ReadKeyList("list", strings.NewReader(text))
		if err == nil && list.Len() > strings.Count(text, "\n")+1 {
			t.Fatalf("%d keys out of %q", list.Len(), text)
		}
	})
}

func TestKnownBadListIsWhole(t *testing.T) {
	if n := len(knownBad()); n != 31 {
		t.Errorf("%d keys on the built-in list", n)
	}
}
