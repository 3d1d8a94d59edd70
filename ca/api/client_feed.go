package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

const (
	// MediaFeed is the type of a feed's messages: one octet of kind, four of length, the
	// payload; see package certs/feed, which reads and checks them.
	MediaFeed = "application/vnd.handfast.feed"
	// HeaderFeedError is the trailer that says, as an Error in JSON, why the CA ended a stream.
	HeaderFeedError = "Handfast-Feed-Error"
	// AckSize is the length of an acknowledgement: the sequence number that is enforced now, big-endian.
	AckSize = 8
	// AgentIDSize is the length of an agent's ID: lower-case hexadecimal digits.
	AgentIDSize = 32

	maxPoll         = 72 << 20 // a poll's answer: one snapshot, and what came after it
	maxTrailerError = 8 << 10
)

// ValidAgentID reports whether id is of the form of an agent's ID.
func ValidAgentID(id string) bool {
	if len(id) != AgentIDSize {
		return false
	}
	for i := range len(id) {
		if (id[i] < '0' || id[i] > '9') && (id[i] < 'a' || id[i] > 'f') {
			return false
		}
	}
	return true
}

// FeedMessage is one message of the feed. What it says is to be verified: this only carries it.
type FeedMessage struct {
	Kind    byte
	Payload []byte
}

// FeedStream is an open stream of the feed. Next is for one goroutine at a time; the
// other methods may be called at any time.
type FeedStream struct {
	client   *Client
	response *http.Response
	messages *feed.Reader
	acks     *ackBody
	cancel   context.CancelCauseFunc
	ended    chan struct{} // closed by Next when the stream is over
	over     bool          // only Next uses it
}

var (
	errNoStream  = errors.New("the CA did not answer in time")
	errClosed    = errors.New("the stream was closed")
	errForeignID = errors.New("an agent's ID is 32 lower-case hexadecimal digits")
)

// ErrNotHTTP2 says that a stream cannot be had where a proxy speaks HTTP/1 only: poll instead.
var ErrNotHTTP2 = errors.New("a stream needs HTTP/2; use polling")

// Feed opens a stream of the feed for the agent with this ID, which holds everything up to
// since (0: nothing). Naming since acknowledges it. The client's timeout bounds the wait for
// the answer's beginning; the stream lives until either side ends it or ctx ends. One agent has
// one stream: a second one ends the first.
func (c *Client) Feed(ctx context.Context, since uint64, agent string) (*FeedStream, error) {
	if !ValidAgentID(agent) {
		return nil, errForeignID
	}
	ctx, cancel := context.WithCancelCause(ctx)
	acks := newAckBody()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+PathFeed+"?"+feedQuery(since, agent).Encode(), acks)
	if err != nil {
		cancel(err)
		return nil, err
	}
	request.Header.Set("User-Agent", c.agent)
	request.Header.Set("Accept", MediaFeed)
	request.Header.Set("Content-Type", MediaFeed)
	timer := time.AfterFunc(c.timeout, func() { cancel(errNoStream) })
	response, err := c.http.Load().Do(request)
	timer.Stop()
	if err == nil {
		err = c.checkStream(response)
	}
	if err != nil {
		cancel(err)
		return nil, err
	}
	return &FeedStream{
		client: c, response: response, messages: feed.NewReader(response.Body), acks: acks, cancel: cancel, ended: make(chan struct{}),
	}, nil
}

func (c *Client) checkStream(response *http.Response) error {
	var err error
	switch {
	case response.StatusCode != http.StatusOK:
		err = readError(response)
	case mediaType(response) != MediaFeed:
		err = fmt.Errorf("the answer is %q instead of %q: is this the address of a Handfast CA?", mediaType(response), MediaFeed)
	case response.ProtoMajor != 2:
		err = ErrNotHTTP2
	default:
		return nil
	}
	response.Body.Close() //nolint:errcheck // only read from
	c.reconnectAfter(err)
	return fmt.Errorf("%s %s%s: %w", http.MethodPost, c.base, PathFeed, err)
}

// Next returns the next message. It waits for ever: the CA sends a heartbeat every few
// seconds, and it is the caller's to Close when none comes. The payload is the caller's own.
// An *Error says why the CA ended the stream; io.EOF that it ended without a word.
func (s *FeedStream) Next() (FeedMessage, error) {
	kind, payload, err := s.messages.Next()
	if err == nil {
		return FeedMessage{Kind: kind, Payload: payload}, nil
	}
	if !s.over {
		s.over = true
		close(s.ended)
	}
	if errors.Is(err, io.EOF) {
		if told := trailerError(s.response); told != nil {
			s.client.reconnectAfter(told)
			return FeedMessage{}, told
		}
	}
	return FeedMessage{}, err
}

// Ack tells the CA that everything up to sequence is enforced: new handshakes are refused,
// live connections are cut. It does not wait; of several that were not sent yet the last
// is. The error says that the stream is over.
func (s *FeedStream) Ack(sequence uint64) error { return s.acks.put(sequence) }

// Leave tells the CA that this agent stops, so that nobody waits for it, and waits until
// the CA has ended the stream or ctx ends. Another goroutine must be in Next meanwhile.
func (s *FeedStream) Leave(ctx context.Context) error {
	s.acks.end()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the stream and a Next that waits. The CA counts the agent as silent until it
// comes back.
func (s *FeedStream) Close() error {
	s.cancel(errClosed)
	return s.response.Body.Close()
}

func trailerError(response *http.Response) error {
	text := response.Trailer.Get(HeaderFeedError)
	if text == "" || len(text) > maxTrailerError {
		return nil
	}
	told := new(Error)
	if err := json.Unmarshal([]byte(text), told); err != nil || told.Code == "" {
		return nil
	}
	told.clean()
	told.Status = told.Code.HTTPStatus()
	return told
}

// FeedPoll asks for what is new after since, for where no stream is possible. It waits up to
// wait (at most MaxWait, in whole seconds) for news; when none came the answer is a
// statement that says so. Naming since acknowledges it.
func (c *Client) FeedPoll(ctx context.Context, since uint64, agent string, wait time.Duration) ([]FeedMessage, error) {
	if !ValidAgentID(agent) {
		return nil, errForeignID
	}
	wait = wholeSeconds(wait)
	reply, err := c.do(ctx, call{
		method: http.MethodGet, path: PathFeed, query: feedQuery(since, agent), header: preferWait(wait),
		accept: MediaFeed, limit: maxPoll, timeout: crlTimeout, wait: wait,
	})
	if err != nil {
		return nil, err
	}
	var list []FeedMessage
	for reader := feed.NewReader(bytes.NewReader(reply.body)); ; {
		kind, payload, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF) && len(list) > 0:
			return list, nil
		case err != nil:
			return nil, fmt.Errorf("%s %s%s: the answer is not what the API promises: %w", http.MethodGet, c.base, PathFeed, err)
		}
		list = append(list, FeedMessage{Kind: kind, Payload: payload})
	}
}

// RevocationOf asks the ledger about one certificate, by the key id of its issuer and its
// serial in hexadecimal. CodeNotFound says that the CA has never heard of it.
func (c *Client) RevocationOf(ctx context.Context, issuer, serial string) (*RevocationState, error) {
	return get[RevocationState](ctx, c, PathRevocations+"/"+escapePath(issuer)+"/"+escapePath(serial), nil)
}

func feedQuery(since uint64, agent string) url.Values {
	return url.Values{"since": {strconv.FormatUint(since, 10)}, "agent": {agent}}
}

// wholeSeconds is what of a wait can be asked for.
func wholeSeconds(wait time.Duration) time.Duration {
	return min(max(wait, 0), MaxWait).Truncate(time.Second)
}

func preferWait(wait time.Duration) map[string]string {
	if wait == 0 {
		return nil
	}
	return map[string]string{HeaderPrefer: "wait=" + strconv.Itoa(int(wait/time.Second))}
}
