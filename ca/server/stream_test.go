package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/certs"
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
	f := &follows{feed: newFakeFeed(7)}
	var err error
	if f.fleet, err = fleet.New(t.Context(), fleet.Config{Ledger: noAgents{}, Sequence: f.feed.Sequence}); err != nil {
		t.Fatal(err)
	}
	f.stack = start(t, func(cfg *Config) {
		cfg.Feed, cfg.Fleet = f.feed, f.fleet
		if modify != nil {
			modify(cfg)
		}
	})
	return f
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
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
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
	f := startFeed(t, func(cfg *Config) {
		cfg.Limits.Read, cfg.Limits.Write = 50*time.Millisecond, 50*time.Millisecond
	})
	stream := f.open(f.client("web"), agentA)
	f.expect(stream, 7)
	time.Sleep(200 * time.Millisecond) // longer than any other request may take
	if err := stream.Ack(7); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the acknowledgement arrives", func() bool { return f.agent(agentA).Sequence == 7 })
	f.feed.beat(8)
	f.expect(stream, 8)
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

func TestStreamEndsWithItsCertificate(t *testing.T) {
	clock := &testClock{}
	f := startFeed(t, func(cfg *Config) { cfg.Now = clock.now })
	client := f.client("web")
	stream := f.open(client, agentA)
	f.expect(stream, 7)
	// The certificate is looked at thoroughly once a minute, and not with each statement.
	calls := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.authCalls
	}
	before := calls()
	f.feed.beat(8)
	f.expect(stream, 8)
	if got := calls(); got != before {
		t.Errorf("authenticated %d times for a statement", got-before)
	}
	clock.advance(2 * time.Minute)
	f.feed.beat(9)
	f.expect(stream, 9)
	if got := calls(); got != before+1 {
		t.Errorf("authenticated %d times after two minutes, want once", got-before)
	}
	clock.advance(24 * time.Hour)
	f.feed.beat(10)
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

func TestStreamRefusesGarbage(t *testing.T) {
	f := startFeed(t, nil)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: f.tls("web"), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	path := f.api + api.PathFeed + "?since=0&agent=" + agentA
	for name, test := range map[string]struct {
		url, media, body string
		status           int
		trailer          string
	}{
		"half an acknowledgement":  {path, api.MediaFeed, "1234", 200, "bad_request"},
		"text":                     {path, api.MediaFeed, strings.Repeat("garbage!", 1000), 200, "bad_request"},
		"JSON":                     {path, "application/json", "{}", 400, ""},
		"no agent":                 {f.api + api.PathFeed + "?since=0", api.MediaFeed, "", 400, ""},
		"an ID in capitals":        {f.api + api.PathFeed + "?since=0&agent=" + strings.ToUpper(agentA), api.MediaFeed, "", 400, ""},
		"no position":              {f.api + api.PathFeed + "?agent=" + agentA, api.MediaFeed, "", 400, ""},
		"a position that is none":  {f.api + api.PathFeed + "?since=-1&agent=" + agentA, api.MediaFeed, "", 400, ""},
		"a parameter that is none": {path + "&x=1", api.MediaFeed, "", 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			// The pipe stays open, so that what ends the stream is what was sent.
			body, w := io.Pipe()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, test.url, body)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", test.media)
			go func() {
				io.WriteString(w, test.body)
				if len(test.body) < api.AckSize {
					w.Close()
				}
			}()
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			io.Copy(io.Discard, response.Body)
			if response.StatusCode != test.status || !strings.Contains(response.Trailer.Get(api.HeaderFeedError), test.trailer) {
				t.Errorf("status %d, trailer %q; want %d with %q", response.StatusCode, response.Trailer.Get(api.HeaderFeedError), test.status, test.trailer)
			}
		})
	}
}

func TestStreamNeedsHTTP2(t *testing.T) {
	f := startFeed(t, nil)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: f.tls("web")}}
	defer client.CloseIdleConnections()
	response, err := client.Post(f.api+api.PathFeed+"?since=0&agent="+agentA, api.MediaFeed, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 1 || response.StatusCode != http.StatusBadRequest {
		t.Errorf("HTTP/%d status %d, want a refusal over HTTP/1", response.ProtoMajor, response.StatusCode)
	}
}

func TestPolling(t *testing.T) {
	f := startFeed(t, nil)
	client := f.client("web")
	poll := func(since uint64, wait time.Duration) []uint64 {
		t.Helper()
		list, err := client.FeedPoll(t.Context(), since, agentA, wait)
		if err != nil {
			t.Fatal(err)
		}
		var sequences []uint64
		for _, message := range list {
			sequences = append(sequences, binary.BigEndian.Uint64(message.Payload))
		}
		return sequences
	}
	if got := poll(0, 30*time.Second); len(got) != 1 || got[0] != 7 {
		t.Errorf("news did not come at once: %v", got)
	}
	if a := f.agent(agentA); a.Sequence != 0 || a.State != fleet.Lagging {
		t.Errorf("agent after the first poll: %+v", a)
	}
	if got := poll(7, 0); len(got) != 1 || got[0] != 7 {
		t.Errorf("without a wait: %v, want one statement that nothing is new", got)
	}
	if a := f.agent(agentA); a.Sequence != 7 || a.State != fleet.Current {
		t.Errorf("agent after the second poll: %+v; naming 7 acknowledges it", a)
	}
	go func() {
		for f.metric("requests_in_flight") == 0 {
			time.Sleep(time.Millisecond)
		}
		f.feed.beat(8)
	}()
	if got := poll(7, 30*time.Second); len(got) == 0 || got[len(got)-1] != 8 {
		t.Errorf("a poll that waits brought %v", got)
	}
	f.feed.fail(errNoFeed)
	_, err := client.FeedPoll(t.Context(), 8, agentA, 0)
	var told *api.Error
	if !errors.As(err, &told) || told.Code != api.CodeUnavailable || strings.Contains(err.Error(), errNoFeed.Error()) {
		t.Errorf("a feed that is silent: %v, want unavailable without the cause", err)
	}
}

func TestRevocationOfIsExact(t *testing.T) {
	f := startFeed(t, nil)
	serial, err := certs.ParseSerial("0a01")
	if err != nil {
		t.Fatal(err)
	}
	client := f.client("web")
	state, err := client.RevocationOf(t.Context(), "aabb", serial.String())
	if err != nil || !state.Revoked || state.Reason != certs.KeyCompromise || state.Sequence != 5 {
		t.Errorf("revoked: %+v, %v", state, err)
	}
	state, err = client.RevocationOf(t.Context(), "aabb", "0b")
	if err != nil || state.Revoked || state.Sequence != 7 {
		t.Errorf("not revoked: %+v, %v; want the feed's position", state, err)
	}
	_, err = client.RevocationOf(t.Context(), "cc", "0b")
	var told *api.Error
	if !errors.As(err, &told) || told.Code != api.CodeNotFound {
		t.Errorf("unknown: %v", err)
	}
}

func TestProgressAndAgents(t *testing.T) {
	f := startFeed(t, nil)
	web, shop, admin := f.open(f.client("web"), agentA), f.open(f.client("shop"), agentB), f.client("handfast/operator/rene")
	f.expect(web, 7)
	f.expect(shop, 7)
	f.fleet.Note(8, time.Now())
	f.feed.beat(8)
	f.expect(web, 8)
	web.Ack(8)
	p, err := admin.Progress(t.Context(), 8, 0)
	if err != nil || !p.Known || p.Agents != 2 || len(p.Pending) == 0 || p.Pending[len(p.Pending)-1].Service != "web" && p.PendingTotal == 0 {
		t.Fatalf("progress = %+v, %v", p, err)
	}
	done := make(chan *api.Progress)
	go func() {
		p, err := admin.Progress(context.WithoutCancel(t.Context()), 8, 30*time.Second)
		if err != nil {
			t.Error(err)
		}
		done <- p
	}()
	f.expect(shop, 8)
	shop.Ack(8)
	if p = <-done; p == nil || p.Enforcing != 2 || p.PendingTotal != 0 || p.Slowest == nil || p.SlowestMS < p.MedianMS {
		t.Errorf("progress = %+v", p)
	}
	shop.Close()
	eventually(t, "shop is silent", func() bool { return f.agent(agentB).State == fleet.Silent })
	var names []string
	for query := (api.AgentQuery{Limit: 1}); ; {
		page, err := admin.Agents(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Agents {
			names = append(names, a.Service+" "+a.State)
		}
		if query.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	if got := strings.Join(names, ", "); got != "shop silent, web current" {
		t.Errorf("agents: %s", got)
	}
	page, err := admin.Agents(t.Context(), api.AgentQuery{State: "silent", Search: agentB[:5]})
	if err != nil || len(page.Agents) != 1 || page.Sequence != 8 {
		t.Errorf("silent: %+v, %v", page, err)
	}
	if _, err := admin.Agents(t.Context(), api.AgentQuery{State: "asleep"}); err == nil {
		t.Error("an unknown state is taken")
	}
}
