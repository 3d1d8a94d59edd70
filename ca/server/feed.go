package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation/broadcast"
)

// Feed is what agents follow; FeedOf makes one of a *broadcast.Broadcaster. It is safe for
// concurrent use.
type Feed interface {
	// Follow begins after the position since; 0 is a follower that knows nothing.
	Follow(since uint64) Cursor
	// Sequence is the newest position that there is.
	Sequence() uint64
	// Changed returns a channel that is closed when there is more to say than now, so that one wait serves many cursors.
	Changed() <-chan struct{}
	// Attend counts followers that are told after Changed: they come (1) and go (-1).
	Attend(change int)
}

// Cursor is one follower's place. One goroutine at a time uses it, and it costs nothing while
// nobody does.
type Cursor interface {
	// Next returns messages to be written as they are. They are shared, not to be changed. The
	// first call returns at once, later ones with news or the next heartbeat. It fails when
	// ctx ends, or when nothing can be said that is certain.
	Next(ctx context.Context) ([]byte, error)
	// Behind reports whether Next would return without waiting for news.
	Behind() bool
	// Position is where a holder stands that has applied all that Next returned.
	Position() uint64
}

// FeedOf makes a Feed of a broadcaster, whose cursors have a type of their own.
func FeedOf[C Cursor](b broadcaster[C]) Feed { return feedOf[C]{b} }

type broadcaster[C Cursor] interface {
	Follow(since uint64) C
	Sequence() uint64
	Changed() <-chan struct{}
	Attend(change int)
}

type feedOf[C Cursor] struct{ broadcaster[C] }

func (f feedOf[C]) Follow(since uint64) Cursor { return f.broadcaster.Follow(since) }

// follower is an agent that has been admitted to the feed.
type follower struct {
	cursor Cursor
	first  []byte // what the cursor said first
	since  uint64
	joined fleet.Joining
}

// follow has the feed say the first word to who has been admitted. So a feed that cannot speak is an ordinary
// error.
func (s *Server) follow(ctx context.Context, peer ca.Peer, hello api.FeedHello, remote string) (*follower, error) {
	f := &follower{cursor: s.cfg.Feed.Follow(hello.Since), since: hello.Since}
	var err error
	if f.first, err = f.cursor.Next(ctx); err != nil {
		return nil, feedError(err)
	}
	f.joined = fleet.Joining{
		ID: hello.Agent, Service: peer.Name, Issuer: peer.Issuer(), Serial: peer.Serial,
		NotAfter: peer.Certificate.NotAfter.UTC(), Version: hello.Version, Address: host(remote),
		Sequence: hello.Since,
	}
	return f, nil
}

// pollHello reads who asks from where.
func pollHello(r *request) (hello api.FeedHello, err error) {
	if hello.Since, err = strconv.ParseUint(r.query.Get("since"), 10, 64); err != nil {
		return hello, badRequest("since is the sequence number up to which the agent holds the feed, or 0")
	}
	hello.Agent, hello.Version = r.query.Get("agent"), programVersion(r.http)
	if !api.ValidAgentID(hello.Agent) {
		return hello, badRequest("agent is the agent's ID: %d lower-case hexadecimal digits", api.AgentIDSize)
	}
	return hello, nil
}

// feedError is for a feed that cannot say anything.
func feedError(err error) error {
	if errors.Is(err, broadcast.ErrAhead) {
		return &api.Error{Code: api.CodeConflict, Message: err.Error(), Hint: "was the CA's ledger restored from an old backup? see docs/operations.md"}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &unavailable{err}
}

// unavailable keeps the cause for the log.
type unavailable struct{ cause error }

func (u *unavailable) Error() string { return u.cause.Error() }
func (u *unavailable) Unwrap() error { return errFeedSilent }

var errFeedSilent = &api.Error{Code: api.CodeUnavailable, Message: "the feed of revocations cannot say anything that is certain", Hint: "try again; the CA's log says why"}

// pollFeed answers with what is new, or at the next heartbeat, or when the wait is over.
func (s *Server) pollFeed(r *request) (*answer, error) {
	wait, err := preferredWait(r.http)
	if err != nil {
		return nil, err
	}
	hello, err := pollHello(r)
	if err != nil {
		return nil, err
	}
	f, err := s.follow(r.ctx(), r.peer, hello, r.http.RemoteAddr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(r.ctx())
	defer cancel(nil)
	f.joined.End = cancel
	member, err := s.cfg.Fleet.Join(f.joined)
	if err != nil {
		return nil, streamError(err)
	}
	defer member.Pause()
	body := f.first
	if wait > 0 && f.cursor.Position() == f.since {
		s.allowTime(r, wait)
		limited, stop := context.WithTimeout(ctx, wait)
		defer stop()
		if news, err := f.cursor.Next(limited); err == nil {
			body = append(append(make([]byte, 0, len(body)+len(news)), body...), news...)
		} else if limited.Err() == nil {
			return nil, feedError(err)
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, streamError(cause)
		}
		if _, err := s.cfg.CA.Authenticate(r.ctx(), r.http.TLS.PeerCertificates); err != nil {
			return nil, err
		}
	}
	return &answer{body: body, media: api.MediaFeed}, nil
}

// revocationOf is the full check behind a hit in the feed's compact set.
func (s *Server) revocationOf(r *request) (*answer, error) {
	serial, err := certs.ParseSerial(r.http.PathValue("serial"))
	if err != nil {
		return nil, badRequest("%v", err)
	}
	issuer := r.http.PathValue("issuer")
	if len(issuer) > maxQuery {
		return nil, badRequest("the issuer's key id is too long")
	}
	sequence := s.cfg.Feed.Sequence() // before the look: what is newer is not claimed to be known
	state, err := s.cfg.CA.RevocationOf(r.ctx(), issuer, serial)
	if err != nil {
		return nil, err
	}
	if !state.Revoked {
		state.Sequence = sequence
	}
	return &answer{json: state}, nil
}

// programVersion is what the client says of itself, as far as it is fit for a table.
func programVersion(r *http.Request) string {
	const longest = 64
	agent := r.UserAgent()
	for i := range len(agent) {
		if agent[i] <= ' ' || agent[i] > '~' {
			agent = agent[:i]
			break
		}
	}
	return agent[:min(len(agent), longest)]
}

// host is the address without its port.
func host(address string) string {
	if name, _, err := net.SplitHostPort(address); err == nil {
		return name
	}
	return address
}
