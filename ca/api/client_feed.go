package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

const (
	// MediaFeed is the type of a feed's messages: one octet of kind, four of length, the
	// payload; see package certs/feed, which reads and checks them.
	MediaFeed = "application/vnd.handfast.feed"
	// AckSize is the length of an acknowledgement: the sequence number that is enforced now, big-endian.
	AckSize = 8
	// AgentIDSize is the length of an agent's ID: lower-case hexadecimal digits.
	AgentIDSize = 32
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

// FeedStream is an open stream of the feed, over a connection of its own. Next is for one goroutine at
// a time; the other methods may be called at any time.
type FeedStream struct {
	client   *Client
	conn     *tls.Conn
	messages *feed.Reader
	acks     *ackQueue
	stop     func() bool   // no longer close the connection when the context ends
	ended    chan struct{} // closed by Next when the stream is over
	over     bool          // only Next uses it
}

// ackTimeout is how long the network may take nothing of an acknowledgement.
const ackTimeout = 15 * time.Second

var (
	errNoAnswer  = errors.New("the CA did not answer in time")
	errClosed    = errors.New("the stream was closed")
	errCut       = errors.New("the connection was cut")
	errForeignID = errors.New("an agent's ID is 32 lower-case hexadecimal digits")
)

// ErrNoStream says that a stream cannot be had, because the CA, or what stands before it, does not
// take FeedProtocol: poll instead.
var ErrNoStream = errors.New("no stream: " + FeedProtocol + " was not chosen in the TLS handshake; use polling")

// ErrNoHandshake says that a connection for a stream was made and then cut before the CA's first word: the CA behind a
// balancer is away, or something in between does not know FeedProtocol and rejects it without saying so.
var ErrNoHandshake = errors.New("the connection was cut before the CA said anything")

// Feed opens a stream of the feed for the agent with this ID, which holds everything up to
// since (0: nothing). Naming since acknowledges it. The stream has a connection of its own, with the
// certificate that the TLS configuration gives now. The client's timeout bounds the wait for the
// answer's beginning; the stream lives until either side ends it or ctx ends. One agent has
// one stream: a second one ends the first.
func (c *Client) Feed(ctx context.Context, since uint64, agent string) (*FeedStream, error) {
	hello, err := FeedHello{Since: since, Agent: agent, Version: programOf(c.agent)}.Append(nil)
	if err != nil {
		return nil, err
	}
	opening, cancel := context.WithTimeoutCause(ctx, c.timeout, errNoAnswer)
	defer cancel()
	s, err := c.openFeed(opening, hello)
	if err != nil {
		c.reconnectAfter(err)
		if opening.Err() != nil && !errors.Is(err, ErrNoHandshake) {
			err = context.Cause(opening)
		}
		return nil, fmt.Errorf("%s %s: %w", FeedProtocol, c.base, err)
	}
	s.acks = newAckQueue(since)
	s.stop = context.AfterFunc(ctx, func() { s.cut() }) //nolint:errcheck // it is given up
	go s.sendAcks()
	return s, nil
}

// openFeed connects, says the hello and waits for the first octet of the answer.
func (c *Client) openFeed(ctx context.Context, hello []byte) (*FeedStream, error) {
	conn, err := c.dialFeed(ctx)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.NetConn().Close() })() //nolint:errcheck // it is given up
	s := &FeedStream{client: c, conn: conn, ended: make(chan struct{})}
	var kind [1]byte
	if _, err = conn.Write(hello); err == nil {
		_, err = io.ReadFull(conn, kind[:])
	}
	err = cutShort(ctx, err)
	if err == nil {
		s.messages = feed.NewReader(io.MultiReader(bytes.NewReader(kind[:]), wholeReader{conn}))
		if kind[0] != feed.EndMessage {
			return s, nil
		}
		_, err = s.next()
	}
	conn.NetConn().Close() //nolint:errcheck // it is given up
	return nil, err
}

// dialFeed connects by FeedProtocol.
func (c *Client) dialFeed(ctx context.Context) (*tls.Conn, error) {
	base, err := url.Parse(c.base)
	if err != nil {
		return nil, err
	}
	port := base.Port()
	if port == "" {
		port = "443"
	}
	raw, err := c.dial(ctx, "tcp", net.JoinHostPort(base.Hostname(), port))
	if err != nil {
		return nil, err
	}
	config := c.tls.Clone()
	config.NextProtos = []string{FeedProtocol}
	if config.ServerName == "" {
		config.ServerName = base.Hostname()
	}
	conn := tls.Client(raw, config)
	if err = conn.HandshakeContext(ctx); err == nil && conn.ConnectionState().NegotiatedProtocol != FeedProtocol {
		err = ErrNoStream
	}
	if err != nil {
		raw.Close() //nolint:errcheck // nothing was sent
		return nil, cutShort(ctx, noProtocol(err))
	}
	return conn, nil
}

// cutShort makes what happened to a connection that was made an ErrNoHandshake if the other side was not the one to say it.
func cutShort(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errNoAnswer):
		return fmt.Errorf("%w: %w", ErrNoHandshake, errNoAnswer)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%w: %w", ErrNoHandshake, err)
	}
	return err
}

// noProtocol tells a peer that knows other protocols only (RFC 7301, section 3.2) from other failures.
func noProtocol(err error) error {
	const noApplicationProtocol = tls.AlertError(120)
	if alert, ok := errors.AsType[*net.OpError](err); ok && alert.Op == "remote error" && alert.Err.Error() == noApplicationProtocol.Error() {
		return ErrNoStream
	}
	return err
}

// wholeReader tells TCP's end, which anybody can bring about, from the peer's.
type wholeReader struct{ conn *tls.Conn }

func (r wholeReader) Read(p []byte) (int, error) {
	n, err := r.conn.Read(p)
	if err == io.ErrUnexpectedEOF { //nolint:errorlint // crypto/tls returns it itself
		err = errCut
	}
	return n, err
}

// Next returns the next message. It waits for ever: the CA sends a heartbeat every few
// seconds, and it is the caller's to Close when none comes. The payload is the caller's own.
// An *Error says why the CA ended the stream; io.EOF that it ended without a word.
func (s *FeedStream) Next() (FeedMessage, error) {
	message, err := s.next()
	if err == nil {
		s.acks.repeat(FeedAlive)
		return message, nil
	}
	if !s.over {
		s.over = true
		s.acks.close()
		close(s.ended)
	}
	return FeedMessage{}, err
}

func (s *FeedStream) next() (FeedMessage, error) {
	kind, payload, err := s.messages.Next()
	if err == nil && kind == feed.EndMessage {
		err = readEnd(payload)
		s.client.reconnectAfter(err)
	}
	if err != nil {
		return FeedMessage{}, err
	}
	return FeedMessage{Kind: kind, Payload: payload}, nil
}

// sendAcks ends with the stream.
func (s *FeedStream) sendAcks() {
	for {
		ack, err := s.acks.take()
		if err == nil {
			_ = s.conn.SetWriteDeadline(time.Now().Add(ackTimeout))
			_, err = s.conn.Write(ack[:])
		}
		if err != nil {
			s.acks.close()
			return
		}
	}
}

// Ack tells the CA that everything up to sequence is enforced: new handshakes are refused,
// live connections are cut. It does not wait; of several that were not sent yet the last
// is. The error says that the stream is over.
func (s *FeedStream) Ack(sequence uint64) error { return s.acks.put(sequence) }

// Leave tells the CA that this agent stops, so that nobody waits for it, and waits until
// the CA has ended the stream or ctx ends. Another goroutine must be in Next meanwhile.
func (s *FeedStream) Leave(ctx context.Context) error {
	s.acks.stop()
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
	s.stop()
	return s.cut()
}

func (s *FeedStream) cut() error {
	s.acks.close()
	if err := s.conn.NetConn().Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// readEnd reads why the CA has ended a stream.
func readEnd(payload []byte) error {
	told := new(Error)
	if len(payload) > maxFeedEnd || json.Unmarshal(payload, told) != nil || told.Code == "" {
		return errors.New("the CA ended the stream for a reason that it did not manage to say")
	}
	told.clean()
	told.Status = told.Code.HTTPStatus()
	return told
}
