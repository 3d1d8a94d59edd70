package api

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
)

// Acknowledgements wait for nobody, the newest counts, and what waits is sent before the end.
func TestAckBody(t *testing.T) {
	b := newAckBody()
	for sequence := range uint64(5) {
		if err := b.put(sequence + 1); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 1024)
	if n, err := b.Read(buf); err != nil || n != AckSize || binary.BigEndian.Uint64(buf) != 5 {
		t.Errorf("read %x, %v; want the last alone", buf[:n], err)
	}
	if err := b.put(6); err != nil {
		t.Fatal(err)
	}
	b.end()
	if err := b.put(7); err == nil {
		t.Error("taken after the end")
	}
	rest, err := io.ReadAll(b)
	if err != nil || len(rest) != AckSize || binary.BigEndian.Uint64(rest) != 6 {
		t.Errorf("rest %x, %v", rest, err)
	}
	other := newAckBody()
	woken := make(chan error, 1)
	go func() {
		_, err := other.Read(buf)
		woken <- err
	}()
	other.Close()
	if err := <-woken; errors.Is(err, io.EOF) || err == nil {
		t.Errorf("a closed body ended with %v; only an orderly end is one", err)
	}
	if _, err := newAckBody().readInto(make([]byte, 3)); !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("a short buffer: %v", err)
	}
}

// readInto reads an acknowledgement that waits.
func (b *ackBody) readInto(p []byte) (int, error) {
	if err := b.put(1); err != nil {
		return 0, err
	}
	return b.Read(p)
}

func TestValidAgentID(t *testing.T) {
	for id, want := range map[string]bool{
		"0123456789abcdef0123456789abcdef":  true,
		"0123456789ABCDEF0123456789abcdef":  false,
		"0123456789abcdef0123456789abcde":   false,
		"0123456789abcdef0123456789abcdef0": false,
		"0123456789abcdef0123456789abcdeg":  false,
		"0123456789abcdef 123456789abcdef":  false,
		"":                                  false,
	} {
		if ValidAgentID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
	if _, err := (&Client{}).Feed(t.Context(), 0, "x"); err == nil {
		t.Error("a stream with another ID was opened")
	}
	if _, err := (&Client{}).FeedPoll(t.Context(), 0, "x", time.Second); err == nil {
		t.Error("a poll with another ID was made")
	}
}

// Whatever a trailer holds, the error is fit for a log and a terminal, bounded, and has a code.
func FuzzTrailerError(f *testing.F) {
	f.Add(`{"code":"revoked","message":"the certificate is revoked","request_id":"A"}`)
	f.Add(`{"code":"","message":"x"}`)
	f.Add("{\"code\":\"a\x1b\",\"message\":\"\\u001b[2J\"}")
	f.Add(strings.Repeat("x", maxTrailerError+1))
	f.Add("null")
	f.Fuzz(func(t *testing.T, text string) {
		err := trailerError(&http.Response{Trailer: http.Header{HeaderFeedError: {text}}})
		if err == nil {
			return
		}
		var told *Error
		if !errors.As(err, &told) || told.Code == "" || told.Status == 0 {
			t.Fatalf("%q: %+v", text, err)
		}
		for _, part := range []string{string(told.Code), told.Message, told.Hint, told.RequestID} {
			if len(part) > 4*maxErrorText || strings.ContainsFunc(part, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q in %q", part, text)
			}
		}
	})
}

// Acknowledgements come out of an ackBody in the order they went in, each at most once, the last always.
func FuzzAckBody(f *testing.F) {
	f.Add([]byte{1, 0, 2, 3, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		b := newAckBody()
		var sent, got uint64
		buf := make([]byte, 64)
		take := func() {
			n, err := b.Read(buf)
			if err != nil || n != AckSize {
				t.Fatalf("%d, %v", n, err)
			}
			if next := binary.BigEndian.Uint64(buf); next <= got || next > sent {
				t.Fatalf("%d after %d, sent %d", next, got, sent)
			} else {
				got = next
			}
		}
		for _, step := range script {
			if step != 0 {
				sent++
				if err := b.put(sent); err != nil {
					t.Fatal(err)
				}
			} else if sent > got {
				take()
			}
		}
		b.end()
		rest, err := io.ReadAll(b)
		if err != nil || sent > got && !bytes.Equal(rest, binary.BigEndian.AppendUint64(nil, sent)) || sent == got && len(rest) > 0 {
			t.Fatalf("rest %x, %v; sent %d, got %d", rest, err, sent, got)
		}
	})
}
