package server

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/ca/server/sockets"
)

// open admits the agent that showed chain, and leaves in rest what the feed says first. st.writing is held.
func (st *stream) open(chain []*x509.Certificate) (err error) {
	defer st.rescue(&err)
	s := st.server
	st.basis = *s.chorus.basis.Load() // before authentication
	if st.peer, err = s.authenticate(s.chorus.ctx, chain); err != nil {
		return err
	}
	if st.peer.Kind != ca.KindService {
		return wrongKind(st.peer)
	}
	hello, err := st.readHello()
	if err != nil {
		return err
	}
	f, err := s.follow(s.chorus.ctx, st.peer, hello, st.conn.RemoteAddr().String())
	if err != nil {
		return err
	}
	st.cursor, st.rest, f.joined.End = f.cursor, f.first, st.end
	st.sent.Store(f.cursor.Position())
	st.notAfter = st.peer.Certificate.NotAfter.UnixMilli()
	st.peer.Certificate = nil // nobody looks at it any more, and it is the most of a stream's memory
	st.hears()
	member, err := s.cfg.Fleet.Join(f.joined)
	if err != nil {
		return streamError(err)
	}
	st.member = member
	s.metrics.streams.Inc()
	s.chorus.join(st)
	return nil
}

func (st *stream) readHello() (api.FeedHello, error) {
	s := st.server
	_ = st.conn.SetReadDeadline(time.Now().Add(s.cfg.Limits.ReadHeader))
	if err := s.chorus.greet(st.conn); err != nil {
		return api.FeedHello{}, err
	}
	hello, err := api.ReadFeedHello(st.conn)
	s.chorus.greeted(st.conn)
	_ = st.conn.SetReadDeadline(time.Time{})
	switch {
	case err == nil:
		return hello, nil
	case s.chorus.ctx.Err() != nil:
		return hello, streamError(fleet.ErrClosed)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return hello, badRequest("no hello came within %v", s.cfg.Limits.ReadHeader)
	case errors.Is(err, io.EOF):
		return hello, errGone
	default:
		return hello, badRequest("the hello: %v", err)
	}
}

// Readable takes acknowledgements, or what comes after the end.
func (st *stream) Readable() {
	if last := st.last.Load(); last != nil {
		last.drain()
		return
	}
	if st.why.Load() != nil {
		return // its farewell reads what is there
	}
	if err := st.listen(); err != nil {
		st.end(err)
	}
}

// listen takes the acknowledgements that are there, and returns why there will be no more.
func (st *stream) listen() (err error) {
	defer st.rescue(&err)
	for {
		n, err := st.conn.Read(st.ack[st.got:])
		st.got += n
		switch {
		case st.got == api.AckSize:
			st.got = 0
			if err := st.acknowledge(binary.BigEndian.Uint64(st.ack[:])); err != nil {
				return err
			}
		case err == nil:
		case errors.Is(err, sockets.ErrNotYet):
			return nil
		case st.got > 0 && errors.Is(err, io.EOF):
			return badRequest("an acknowledgement has %d octets", api.AckSize)
		default:
			return errGone
		}
	}
}

func (st *stream) acknowledge(sequence uint64) error {
	if sequence == api.AckStops {
		return errStops
	}
	if sent := st.sent.Load(); sequence > sent {
		return badRequest("acknowledged %d, but %d is the last that was sent", sequence, sent)
	}
	st.hears()
	st.member.Ack(sequence)
	return nil
}

// hears notes that the agent lives, by a clock that nobody sets.
func (st *stream) hears() { st.heard.Store(int64(st.server.chorus.age())) }
