package server

import (
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/certs/feed"
)

const agentA, agentB = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"

// follows is a running server with a feed.
type follows struct {
	*stack
	feed  *fakeFeed
	fleet *fleet.Fleet
}

func startFeed(t testing.TB, modify func(*Config)) *follows {
	t.Helper()
	f := newFeed(t)
	f.stack = start(t, f.config(modify))
	return f
}

// newFeed makes what a server is started with.
func newFeed(t testing.TB) *follows {
	t.Helper()
	f := &follows{feed: newFakeFeed(7)}
	var err error
	if f.fleet, err = fleet.New(t.Context(), fleet.Config{Ledger: noAgents{}, Sequence: f.feed.Sequence}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *follows) config(modify func(*Config)) func(*Config) {
	return func(cfg *Config) {
		cfg.Feed, cfg.Fleet = f.feed, f.fleet
		if modify != nil {
			modify(cfg)
		}
	}
}

// open opens a stream, reads its first statement and says what the agent enforces then.
func (f *follows) open(client *api.Client, agent string) *api.FeedStream {
	f.t.Helper()
	stream, err := client.Feed(f.t.Context(), 0, agent)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { stream.Close() })
	return stream
}

func (f *follows) expect(stream *api.FeedStream, sequence uint64) {
	f.t.Helper()
	message, err := stream.Next()
	if err != nil {
		f.t.Fatal(err)
	}
	if got := binary.BigEndian.Uint64(message.Payload); got != sequence {
		f.t.Fatalf("statement %d, want %d", got, sequence)
	}
}

// eventually waits for what another goroutine does; the time is for a busy machine only.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func (f *follows) agent(id string) fleet.Agent {
	for _, a := range f.fleet.Agents() {
		if a.ID == id {
			return a
		}
	}
	return fleet.Agent{}
}

func TestStreamCarriesStatementsAndAcknowledgements(t *testing.T) {
	f := startFeed(t, nil)
	stream := f.open(f.client("web"), agentA)
	f.expect(stream, 7)
	for sequence := uint64(7); sequence < 12; sequence++ {
		if err := stream.Ack(sequence); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the acknowledgement arrives", func() bool { return f.agent(agentA).Sequence == sequence })
		f.feed.beat(sequence + 1)
		f.expect(stream, sequence+1)
	}
	f.feed.beat(12)
	f.expect(stream, 12) // a heartbeat
	if a := f.agent(agentA); a.State != fleet.Lagging || a.Service != "web" || a.Address != "127.0.0.1" {
		t.Errorf("agent = %+v", a)
	}
	if f.metric("feed_streams") != 1 {
		t.Error("the stream is not counted")
	}
	stream.Close()
	eventually(t, "the agent is silent", func() bool { return f.agent(agentA).State == fleet.Silent })
}

func TestStreamSurvivesTheServersTimeouts(t *testing.T) {
	limit := func(cfg *Config) { cfg.Limits = Limits{ReadHeader: time.Second, Read: time.Second, Write: time.Second} }
	inBubble(t, limit, func(t *testing.T, f *follows) {
		conn := f.dial("web", hello(t, 0, agentA))
		messages := feed.NewReader(conn)
		hears(t, messages, 7)
		time.Sleep(10 * time.Second) // longer than any other request may take
		if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, 7)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if a := f.agent(agentA); a.Sequence != 7 {
			t.Errorf("acknowledged %d", a.Sequence)
		}
		f.feed.beat(8)
		hears(t, messages, 8)
	})
}

// hears reads the next statement.
func hears(t *testing.T, messages *feed.Reader, sequence uint64) {
	t.Helper()
	kind, payload, err := messages.Next()
	if err != nil || kind != feed.StatementMessage || binary.BigEndian.Uint64(payload) != sequence {
		t.Fatalf("message %d, %.8x, %v; want statement %d", kind, payload, err, sequence)
	}
}

// end reads until the stream ends, and returns why.
func end(stream *api.FeedStream) error {
	for {
		if _, err := stream.Next(); err != nil {
			return err
		}
	}
}

func TestStreamEndsWithItsReason(t *testing.T) {
	tests := map[string]struct {
		act  func(f *follows, stream *api.FeedStream, client *api.Client)
		code api.Code
	}{
		"acknowledged more than was sent": {func(_ *follows, stream *api.FeedStream, _ *api.Client) { stream.Ack(8) }, api.CodeBadRequest},
		"revoked": {func(f *follows, _ *api.FeedStream, _ *api.Client) {
			f.mu.Lock()
			f.fallen = &api.Error{Code: api.CodeRevoked, Message: "the certificate is revoked"}
			f.mu.Unlock()
			f.feed.beat(8)
		}, api.CodeRevoked},
		"another stream of the same agent":        {func(f *follows, _ *api.FeedStream, client *api.Client) { f.open(client, agentA) }, api.CodeConflict},
		"another agent with the same certificate": {func(f *follows, _ *api.FeedStream, client *api.Client) { f.open(client, agentB) }, api.CodeConflict},
		"the feed falls silent":                   {func(f *follows, _ *api.FeedStream, _ *api.Client) { f.feed.fail(errNoFeed) }, api.CodeUnavailable},
		"the CA stops":                            {func(f *follows, _ *api.FeedStream, _ *api.Client) { f.stop() }, api.CodeUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := startFeed(t, nil)
			client := f.client("web")
			stream := f.open(client, agentA)
			f.expect(stream, 7)
			test.act(f, stream, client)
			err := end(stream)
			var told *api.Error
			if !errors.As(err, &told) || told.Code != test.code || told.RequestID == "" {
				t.Fatalf("the stream ended with %v, want %s", err, test.code)
			}
		})
	}
}

// Who is revoked gets the statement that says so, with its reason, and nothing after it.
func TestRevokedAgentIsToldWhatRevokesIt(t *testing.T) {
	for _, code := range []api.Code{api.CodeRevoked, api.CodeHeld} {
		f := startFeed(t, nil)
		stream := f.open(f.client("web"), agentA)
		f.expect(stream, 7)
		f.mu.Lock()
		f.fallen = &api.Error{Code: code, Message: "no longer"}
		f.mu.Unlock()
		f.feed.beat(8)
		f.expect(stream, 8)
		f.feed.beat(9)
		_, err := stream.Next()
		if told, ok := errors.AsType[*api.Error](err); !ok || told.Code != code {
			t.Errorf("after that: %v; want %s", err, code)
		}
	}
}

func TestStreamEndsWithItsCertificate(t *testing.T) {
	clock := &testClock{}
	f := startFeed(t, func(cfg *Config) { cfg.Now = clock.now })
	stream := f.open(f.client("web"), agentA)
	f.expect(stream, 7)
	clock.advance(24 * time.Hour)
	f.feed.beat(8)
	err := end(stream)
	var told *api.Error
	if !errors.As(err, &told) || told.Code != api.CodeExpired {
		t.Fatalf("the stream ended with %v, want expired", err)
	}
}

func TestAgentThatStopsIsNotSilent(t *testing.T) {
	f := startFeed(t, nil)
	stream := f.open(f.client("web"), agentA)
	f.expect(stream, 7)
	done := make(chan error)
	go func() { done <- end(stream) }()
	if err := stream.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v, want a plain end", err)
	}
	eventually(t, "the agent is stopped", func() bool { return f.agent(agentA).State == fleet.Stopped })
	if p := f.fleet.Progress(9); p.Agents != 0 {
		t.Errorf("progress counts %d agents", p.Agents)
	}
}
