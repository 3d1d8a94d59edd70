package agent

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/handfast/handfast/agent/holder"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs/feed"
)

// fakeStream is a stream of fakeCA's feed.
type fakeStream struct {
	ca       *fakeCA
	ctx      context.Context
	end      context.CancelFunc
	since    uint64
	messages []api.FeedMessage // that wait
	started  bool
}

func (c *fakeConn) Feed(ctx context.Context, since uint64, agent string) (holder.Stream, error) {
	c.ca.mu.Lock()
	defer c.ca.mu.Unlock()
	if err := c.begin("feed", agent, nil); err != nil {
		return nil, err
	}
	if c.ca.noFeed != nil {
		return nil, c.ca.noFeed
	}
	c.ca.acked = max(c.ca.acked, since)
	ctx, end := context.WithCancel(ctx)
	return &fakeStream{ca: c.ca, ctx: ctx, end: end, since: since}, nil
}

func (s *fakeStream) Next() (api.FeedMessage, error) {
	for {
		if len(s.messages) > 0 {
			next := s.messages[0]
			s.messages = s.messages[1:]
			return next, nil
		}
		if err := s.wait(); err != nil {
			return api.FeedMessage{}, err
		}
	}
}

// wait fills messages after news or a heartbeat.
func (s *fakeStream) wait() error {
	changed := s.ca.feed.Changed()
	heartbeat := time.NewTimer(holder.Heartbeat)
	defer heartbeat.Stop()
	if s.started && s.ca.feed.Sequence() == s.since {
		select {
		case <-changed:
		case <-heartbeat.C:
		case <-s.ctx.Done():
			return io.EOF
		}
	}
	s.ca.mu.Lock()
	down, silent := s.ca.fail, s.ca.silent
	s.ca.mu.Unlock()
	switch {
	case down != nil:
		return down
	case silent:
		<-s.ctx.Done()
		return io.EOF
	}
	if !s.started {
		s.messages = append(s.messages, s.ca.feed.Chain())
	}
	s.started = true
	if s.ca.snapshot != nil && s.since == 0 {
		s.since = s.ca.feed.Sequence()
		s.messages = append(s.messages, *s.ca.snapshot)
		return nil
	}
	statement := s.ca.feed.Statement(s.since)
	s.since = statement.To
	s.messages = append(s.messages, s.ca.feed.Message(statement))
	return nil
}

func (s *fakeStream) Ack(sequence uint64) error {
	s.ca.mu.Lock()
	defer s.ca.mu.Unlock()
	if sequence < s.ca.acked {
		s.ca.t.Errorf("acknowledged %d after %d", sequence, s.ca.acked)
	}
	s.ca.acked = sequence
	s.ca.ackedAt = time.Now()
	return nil
}

func (s *fakeStream) Leave(context.Context) error {
	s.ca.mu.Lock()
	defer s.ca.mu.Unlock()
	s.ca.left++
	s.end()
	return nil
}

func (s *fakeStream) Close() error {
	s.end()
	return nil
}

func (c *fakeConn) FeedPoll(ctx context.Context, since uint64, agent string, wait time.Duration) ([]api.FeedMessage, error) {
	c.ca.mu.Lock()
	err := c.begin("poll", agent, nil)
	if c.ca.noFeed != nil && err == nil {
		err = c.ca.noPoll
	}
	c.ca.acked = max(c.ca.acked, since)
	c.ca.mu.Unlock()
	if err != nil {
		return nil, err
	}
	changed := c.ca.feed.Changed()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if c.ca.feed.Sequence() == since {
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return []api.FeedMessage{c.ca.feed.Chain(), c.ca.feed.Message(c.ca.feed.Statement(since))}, nil
}

func (c *fakeConn) RevocationOf(_ context.Context, issuer, serial string) (*api.RevocationState, error) {
	c.ca.mu.Lock()
	defer c.ca.mu.Unlock()
	if err := c.begin("check", issuer+"/"+serial, nil); err != nil {
		return nil, err
	}
	if c.ca.checked == nil {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "no such certificate"}
	}
	return c.ca.checked, nil
}

// announce names the present state in the feed. mu is held.
func (ca *fakeCA) announce() {
	ca.feed.SetVersions(ca.versions()...)
}

func (ca *fakeCA) versions() []feed.Version {
	return []feed.Version{{Name: "crls", Value: ca.crlNumber}, {Name: "policy", Value: fmt.Sprint(ca.epoch)}}
}

// serveFeed is the stream over the network.
func serveFeed(conn *tls.Conn, ca *fakeCA) {
	hello, err := api.ReadFeedHello(conn)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := (&fakeConn{ca: ca}).Feed(ctx, hello.Since, hello.Agent)
	if err != nil {
		return
	}
	go func() {
		defer stream.Close()
		var ack [api.AckSize]byte
		for {
			if _, err := io.ReadFull(conn, ack[:]); err != nil {
				return
			}
			sequence := binary.BigEndian.Uint64(ack[:])
			if sequence == api.AckStops {
				return
			}
			stream.Ack(sequence)
		}
	}()
	for {
		message, err := stream.Next()
		if err != nil {
			return
		}
		if _, err := conn.Write(feed.AppendMessage(nil, message.Kind, message.Payload)); err != nil {
			return
		}
	}
}
