package server

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/certs/feed"
)

// dial connects by the feed's protocol, and says octets.
func (f *follows) dial(path string, octets []byte) *tls.Conn {
	f.t.Helper()
	config := f.tls(path)
	config.NextProtos, config.ServerName = []string{api.FeedProtocol}, "127.0.0.1"
	raw, err := f.connect(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	conn := tls.Client(raw, config)
	f.t.Cleanup(func() { raw.Close() })
	if _, err := conn.Write(octets); err != nil {
		f.t.Fatal(err)
	}
	return conn
}

// told reads to the end of a stream, which says why in its last message.
func told(t *testing.T, conn *tls.Conn) (statements int, end api.Error) {
	t.Helper()
	for messages := feed.NewReader(conn); ; statements++ {
		kind, payload, err := messages.Next()
		if err != nil {
			t.Fatalf("it ended without a word: %v", err)
		}
		if kind == feed.EndMessage {
			if err := json.Unmarshal(payload, &end); err != nil {
				t.Fatal(err)
			}
			if _, _, err := messages.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the last message: %v", err)
			}
			conn.Close()
			return statements, end
		}
	}
}

func hello(t *testing.T, since uint64, agent string) []byte {
	t.Helper()
	octets, err := api.FeedHello{Since: since, Agent: agent, Version: "test/1"}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

func TestStreamRefusesGarbage(t *testing.T) {
	f := startFeed(t, nil)
	good := hello(t, 0, agentA)
	for name, test := range map[string]struct {
		path, octets string
		statements   int // at most: what is wrong with acknowledgements may show before the first word is written
		code         api.Code
	}{
		"half an acknowledgement":     {"web", string(good) + "1234", 1, api.CodeBadRequest},
		"text for acknowledgements":   {"web", string(good) + strings.Repeat("garbage!", 1000), 1, api.CodeBadRequest},
		"text":                        {"web", strings.Repeat("garbage!", 1000), 0, api.CodeBadRequest},
		"HTTP":                        {"web", "GET /v1/feed HTTP/1.1\r\nHost: ca\r\n\r\n", 0, api.CodeBadRequest},
		"another version":             {"web", "hff2" + string(good[4:]), 0, api.CodeBadRequest},
		"half a hello":                {"web", string(good[:10]), 0, api.CodeBadRequest},
		"a program's name too long":   {"web", string(good[:28]) + "\xff" + strings.Repeat("x", 255), 0, api.CodeBadRequest},
		"a program's name of control": {"web", string(good[:28]) + "\x01\x1b", 0, api.CodeBadRequest},
		"no certificate":              {"", string(good), 0, api.CodeUnauthenticated},
		"an operator":                 {"handfast/operator/rene", string(good), 0, api.CodeForbidden},
		"a CA":                        {"handfast/ca", string(good), 0, api.CodeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			conn := f.dial(test.path, []byte(test.octets))
			if strings.HasPrefix(name, "half") {
				conn.CloseWrite()
			}
			statements, end := told(t, conn)
			if end.Code != test.code || end.RequestID == "" || statements > test.statements {
				t.Errorf("%d statements, %+v; want at most %d, %s", statements, end, test.statements, test.code)
			}
			eventually(t, "the log says so", func() bool { return strings.Contains(f.logs.String(), end.RequestID) })
		})
	}
	if n := strings.Count(f.logs.String(), "route="+api.FeedProtocol); n != 11 {
		t.Errorf("%d lines in the log for 11 streams", n)
	}
}

// A connection without a hello ends in time and at the server's end, and there are so many of them only.
func TestConnectionsWithoutAHello(t *testing.T) {
	inBubble(t, func(cfg *Config) { cfg.Limits.ReadHeader = 100 * time.Millisecond }, func(t *testing.T, f *follows) {
		if _, end := told(t, f.dial("web", nil)); end.Code != api.CodeBadRequest || !strings.Contains(end.Message, "100ms") {
			t.Errorf("without a hello: %+v", end)
		}
	})
	f := startFeed(t, func(cfg *Config) { cfg.Limits.ReadHeader = time.Hour })
	waits := f.dial("web", nil)
	greets := func(n int) func() bool {
		return func() bool {
			c := f.server.chorus
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.greeting) == n
		}
	}
	eventually(t, "it is counted", greets(1))
	for range greetings - 1 {
		if err := f.server.chorus.greet(&net.TCPConn{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, end := told(t, f.dial("shop", nil)); end.Code != api.CodeRateLimited {
		t.Errorf("one too many: %+v", end)
	}
	f.stop()
	if _, end := told(t, waits); end.Code != api.CodeUnavailable {
		t.Errorf("at the server's end: %+v", end)
	}
}

// Who takes nothing is cut, and holds nobody up meanwhile, though there are more of them than writers.
func TestSlowAgentsHoldNobodyUp(t *testing.T) {
	const slow = 40
	inBubble(t, func(cfg *Config) { cfg.Limits.Write = time.Second }, func(t *testing.T, f *follows) {
		for i := range slow {
			conn := f.dial("slow-"+strconv.Itoa(i), hello(t, 0, fmt.Sprintf("%032x", i)))
			hears(t, feed.NewReader(conn), 7)
		}
		quick := f.dial("web", hello(t, 0, agentA))
		messages := feed.NewReader(quick)
		hears(t, messages, 7)
		f.feed.fill(3 * piece)
		f.feed.beat(8)
		hears(t, messages, 8)
		if _, err := quick.Write(binary.BigEndian.AppendUint64(nil, 8)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if a := f.agent(agentA); a.Sequence != 8 || f.metric("feed_streams") != slow+1 {
			t.Errorf("the quick one has %d, beside %v others", a.Sequence, f.metric("feed_streams")-1)
		}
		time.Sleep(2 * time.Second)
		if f.metric("feed_streams") != 1 {
			t.Errorf("%v slow ones are not cut", f.metric("feed_streams")-1)
		}
		if n := strings.Count(f.logs.String(), errSlow.Message); n != slow {
			t.Errorf("the log has %d of them", n)
		}
	})
}

// An agent that is not heard of is given up, though its connection is open.
func TestSilentAgentIsGivenUp(t *testing.T) {
	f := startFeed(t, nil)
	conn := f.dial("web", hello(t, 0, agentA))
	eventually(t, "it is there", func() bool { return f.metric("feed_streams") == 1 && f.feed.attending.Load() == 1 })
	c := f.server.chorus
	c.mu.Lock()
	c.streams[0].heard.Add(-int64(silence))
	c.mu.Unlock()
	f.feed.beat(7)
	if _, end := told(t, conn); end.Message != errSilent.Message {
		t.Errorf("it ended with %+v", end)
	}
	eventually(t, "it is silent", func() bool { return f.agent(agentA).State == fleet.Silent && f.feed.attending.Load() == 0 })
}

// What a revoked agent is told, everybody else was told before.
func TestRevokedAgentIsToldLast(t *testing.T) {
	f := startFeed(t, nil)
	revoked := f.open(f.client("web"), agentA)
	f.expect(revoked, 7)
	other := f.open(f.client("shop"), agentB)
	f.expect(other, 7)
	st := f.server.chorus.present()[0]
	f.mu.Lock()
	f.fallen = &api.Error{Code: api.CodeRevoked, Message: "no longer"}
	f.mu.Unlock()
	eventually(t, "nobody writes", func() bool { return st.calls.Load() == 0 })
	st.writing.Lock()
	st.cursor.(*fakeCursor).next = nil // there is something to say, and only this test says it
	st.writing.Unlock()
	if late := st.news(true); !late {
		t.Error("it was not put off")
	}
	if late := st.news(false); late {
		t.Error("it was put off for ever")
	}
	f.expect(revoked, 7)
	if told, ok := errors.AsType[*api.Error](end(revoked)); !ok || told.Code != api.CodeRevoked {
		t.Errorf("it ended with %v", told)
	}
}

func TestStreamNeedsItsProtocol(t *testing.T) {
	f := startFeed(t, nil)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: f.tls("web"), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	response, err := client.Post(f.api+api.PathFeed+"?since=0&agent="+agentA, "text/plain", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("HTTP/%d status %d, want a refusal over HTTP/2", response.ProtoMajor, response.StatusCode)
	}
}
