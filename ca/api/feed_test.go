package api

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
)

// Acknowledgements wait for nobody, the newest counts, and what waits is sent before the end.
func TestAckQueue(t *testing.T) {
	q := newAckQueue(3)
	want := func(sequence uint64) {
		t.Helper()
		if ack, err := q.take(); err != nil || binary.BigEndian.Uint64(ack[:]) != sequence {
			t.Errorf("took %x, %v; want %d", ack, err, sequence)
		}
	}
	q.repeat(time.Hour)
	if q.waiting {
		t.Error("repeated before its time")
	}
	q.repeat(-1)
	want(3) // what the hello acknowledged
	for sequence := range uint64(5) {
		if err := q.put(sequence + 1); err != nil {
			t.Fatal(err)
		}
	}
	want(5)
	q.repeat(-1)
	want(5)
	if err := q.put(6); err != nil {
		t.Fatal(err)
	}
	q.stop()
	if err := q.put(7); err == nil {
		t.Error("taken after the end")
	}
	want(6)
	want(AckStops)
	if ack, err := q.take(); err == nil {
		t.Errorf("took %x after the end", ack)
	}
	other := newAckQueue(0)
	woken := make(chan error, 1)
	go func() {
		_, err := other.take()
		woken <- err
	}()
	other.close()
	if err := <-woken; err == nil {
		t.Error("a closed queue gave something")
	}
}

func TestFeedHello(t *testing.T) {
	id := "00112233445566778899aabbccddeeff"
	wire, err := FeedHello{Since: 258, Agent: id, Version: "x/1"}.Append(nil)
	if want := "hff1\x00\x00\x00\x00\x00\x00\x01\x02\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x03x/1"; err != nil || string(wire) != want {
		t.Errorf("%q, %v", wire, err)
	}
	for name, hello := range map[string]FeedHello{
		"no agent": {}, "a long version": {Agent: id, Version: strings.Repeat("x", 65)}, "a version of two words": {Agent: id, Version: "a b"},
	} {
		if _, err := hello.Append(nil); err == nil {
			t.Errorf("%s is written", name)
		}
	}
	for agent, want := range map[string]string{"handfast/1.2 (linux)": "handfast/1.2", "": "", " x": "", strings.Repeat("y", 80): strings.Repeat("y", 64)} {
		if got := programOf(agent); got != want {
			t.Errorf("%q became %q", agent, got)
		}
	}
}

// What is read as a hello is one, no longer than its limit, and not an octet more is taken.
func FuzzFeedHello(f *testing.F) {
	seed, err := FeedHello{Since: 7, Agent: "00112233445566778899aabbccddeeff", Version: "handfast/1"}.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(append(seed, "12345678"...))
	f.Add(seed[:20])
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, octets []byte) {
		r := bytes.NewReader(octets)
		hello, err := ReadFeedHello(r)
		taken := octets[:len(octets)-r.Len()]
		if len(taken) > feedHelloSize+maxFeedVersion {
			t.Fatalf("%d octets were read", len(taken))
		}
		if err != nil {
			return
		}
		if again, err := hello.Append(nil); err != nil || !bytes.Equal(again, taken) {
			t.Fatalf("%+v is %x, %v; read from %x", hello, again, err, taken)
		}
	})
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

// Whatever a last message holds, the error is fit for a log and a terminal, and bounded.
func FuzzReadEnd(f *testing.F) {
	f.Add(`{"code":"revoked","message":"the certificate is revoked","request_id":"A"}`)
	f.Add(`{"code":"","message":"x"}`)
	f.Add("{\"code\":\"a\x1b\",\"message\":\"\\u001b[2J\"}")
	f.Add(strings.Repeat("x", maxFeedEnd+1))
	f.Add("null")
	f.Fuzz(func(t *testing.T, text string) {
		err := readEnd([]byte(text))
		if err == nil {
			t.Fatal("an end is always an error")
		}
		told, ok := errors.AsType[*Error](err)
		if !ok {
			return
		}
		if told.Code == "" || told.Status == 0 {
			t.Fatalf("%q: %+v", text, err)
		}
		for _, part := range []string{string(told.Code), told.Message, told.Hint, told.RequestID} {
			if len(part) > 4*maxErrorText || strings.ContainsFunc(part, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q in %q", part, text)
			}
		}
	})
}

// Acknowledgements come out of an ackQueue in the order they went in, each at most once, the last always.
func FuzzAckQueue(f *testing.F) {
	f.Add([]byte{1, 0, 2, 3, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		q := newAckQueue(0)
		var sent, got uint64
		take := func() {
			ack, err := q.take()
			if next := binary.BigEndian.Uint64(ack[:]); err != nil || next <= got || next > sent {
				t.Fatalf("%d after %d, sent %d, %v", next, got, sent, err)
			} else {
				got = next
			}
		}
		for _, step := range script {
			if step != 0 {
				sent++
				if err := q.put(sent); err != nil {
					t.Fatal(err)
				}
			} else if sent > got {
				take()
			}
		}
		if q.stop(); sent > got {
			take()
		}
		if ack, err := q.take(); err != nil || binary.BigEndian.Uint64(ack[:]) != AckStops || got != sent {
			t.Fatalf("at the end %x, %v; sent %d, got %d", ack, err, sent, got)
		}
	})
}
