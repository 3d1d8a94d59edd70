package server

import (
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// standing is within what time all streams are authenticated anew after what that rests on has changed.
const standing = time.Minute

// spread is how long after that was noticed it is done for one, so that thousands are not all looked at in the same moment. It
// depends on the serial, which is random.
func spread(serial certs.Serial) time.Duration {
	octets := serial.Bytes()
	if len(octets) == 0 {
		return 0
	}
	return (standing - 2*rounds) * time.Duration(octets[len(octets)-1]) / 256
}

// stands looks, cheaply, whether the certificate is still good.
func (st *stream) stands() error {
	if err := st.expired(); err != nil {
		return err
	}
	return st.server.cfg.CA.Standing(st.peer.Issuer(), st.peer.Serial)
}

func (st *stream) expired() error {
	if st.server.cfg.Now().UnixMilli() <= st.notAfter {
		return nil
	}
	return &api.Error{Code: api.CodeExpired, Message: "the client certificate has expired", Hint: "connect with the next one"}
}

// basis is what authentication rests on at a moment; known is false when that could not be read.
type basis struct {
	ca.Basis
	known bool
}

// learn reads the basis of now.
func (c *chorus) learn() basis {
	is, err := c.authority.Basis(c.ctx)
	now := basis{is, err == nil} // where the ledger says nothing, authentication says why
	c.basis.Store(&now)
	return now
}

// lives looks whether the agent is there and its certificate good: by what is in memory, and thoroughly
// when the basis is not the one any more that it was authenticated on.
func (st *stream) lives(now basis) (err error) {
	defer st.rescue(&err)
	s := st.server
	if s.chorus.age()-time.Duration(st.heard.Load()) > silence {
		return errSilent
	}
	if err := st.expired(); err != nil {
		return err
	}
	if err := s.cfg.CA.Remains(st.peer); err != nil {
		return st.unlessTold(err)
	}
	at := s.cfg.Now()
	switch {
	case now.known && now == st.basis:
		return nil
	case st.due.IsZero():
		st.due = at.Add(spread(st.peer.Serial))
	}
	if at.Before(st.due) && st.due.Sub(at) <= standing { // else the clock went back
		return nil
	}
	st.basis, st.due = now, time.Time{}
	if err := s.cfg.CA.Entitled(s.chorus.ctx, st.peer); err != nil && s.chorus.ctx.Err() == nil {
		return st.unlessTold(err)
	}
	return nil
}

// unlessTold is nil where the feed tells the agent so, and ends its stream then.
func (st *stream) unlessTold(err error) error {
	if isRevoked(err) && isRevoked(st.stands()) {
		return nil
	}
	return err
}
