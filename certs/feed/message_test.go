package feed

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"
)

func TestMessagesRoundTrip(t *testing.T) {
	var wire []byte
	payloads := [][]byte{nil, {1}, bytes.Repeat([]byte("signer"), 1000), bytes.Repeat([]byte("statement"), 100_000)}
	for i, payload := range payloads {
		wire = AppendMessage(wire, []byte{SignerMessage, 77, SignerMessage, StatementMessage}[i], payload)
	}
	for name, from := range map[string]io.Reader{"at once": bytes.NewReader(wire), "octet by octet": iotest.OneByteReader(bytes.NewReader(wire))} {
		r := NewReader(from)
		for i, want := range payloads {
			kind, payload, err := r.Next()
			if err != nil || !bytes.Equal(payload, want) || kind != []byte{SignerMessage, 77, SignerMessage, StatementMessage}[i] {
				t.Fatalf("%s: message %d: kind %d, %d bytes, %v", name, i, kind, len(payload), err)
			}
		}
		if _, _, err := r.Next(); err != io.EOF { //nolint:errorlint // it has to be io.EOF itself
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

func TestMessagesThatAreRefused(t *testing.T) {
	whole := AppendMessage(nil, StatementMessage, []byte("statement"))
	for length := 1; length < len(whole); length++ {
		if _, _, err := NewReader(bytes.NewReader(whole[:length])).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut off after %d octets: %v", length, err)
		}
	}
	for name, header := range map[string][]byte{
		"a long signer":    {SignerMessage, 0, 0, 0x40, 1},
		"a long unknown":   {99, 0, 0, 0x40, 1},
		"a long statement": {StatementMessage, 4, 0, 0, 1},
		"a huge one":       {StatementMessage, 0xff, 0xff, 0xff, 0xff},
	} {
		if _, _, err := NewReader(io.MultiReader(bytes.NewReader(header), neverEnding{})).Next(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// What is announced costs nothing until it arrives.
func TestAnnouncedSizeTakesNoMemory(t *testing.T) {
	header := []byte{StatementMessage, 4, 0, 0, 0}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		if _, _, err := NewReader(bytes.NewReader(header)).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("20 announcements of 64 MiB took %d bytes", took)
	}
}

// FuzzReader: the messages that are read are what stands at the front of the stream.
func FuzzReader(f *testing.F) {
	f.Add(AppendMessage(AppendMessage(nil, SignerMessage, []byte("a")), StatementMessage, []byte("b")))
	f.Add([]byte{StatementMessage, 4, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data))
		var again []byte
		for {
			kind, payload, err := r.Next()
			if err != nil {
				if err == io.EOF && len(again) != len(data) { //nolint:errorlint // it has to be io.EOF itself
					t.Fatalf("it ended after %d of %d octets", len(again), len(data))
				}
				break
			}
			again = AppendMessage(again, kind, payload)
		}
		if !bytes.HasPrefix(data, again) {
			t.Fatal("other messages than were sent")
		}
	})
}
