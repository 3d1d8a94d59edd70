package server

import (
	"crypto/x509"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
)

// standing is how often a connection that stays open is authenticated anew.
const standing = time.Minute

// spread is how long before it began a stream counts as authenticated, so that those which came together are not
// all looked at in the same moment. It depends on the serial, which is random.
func spread(leaf *x509.Certificate) time.Duration {
	octets := leaf.SerialNumber.Bytes()
	if len(octets) == 0 {
		return 0
	}
	return standing * 3 / 4 * time.Duration(octets[len(octets)-1]) / 256
}

// stands looks, cheaply, whether the certificate is still good.
func (st *stream) stands() error {
	if err := st.expired(); err != nil {
		return err
	}
	return st.server.cfg.CA.Standing(st.issuer, st.peer.Serial)
}

func (st *stream) expired() error {
	if !st.server.cfg.Now().After(st.peer.Certificate.NotAfter) {
		return nil
	}
	return &api.Error{Code: api.CodeExpired, Message: "the client certificate has expired", Hint: "connect with the next one"}
}

// lives looks whether the agent is there and its certificate good, thoroughly once a minute.
func (st *stream) lives() (err error) {
	defer st.rescue(&err)
	s := st.server
	if s.chorus.age()-time.Duration(st.heard.Load()) > silence {
		return errSilent
	}
	if err := st.expired(); err != nil {
		return err
	}
	now := s.cfg.Now()
	if age := now.Sub(st.checked); age >= 0 && age < standing {
		return nil
	}
	peer, err := s.cfg.CA.Authenticate(s.chorus.ctx, st.chain)
	switch {
	case isRevoked(err) && isRevoked(st.stands()):
		return nil // the feed tells it so, and ends it then
	case s.chorus.ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case peer.ID != st.peer.ID || peer.Kind != ca.KindService:
		return &api.Error{Code: api.CodeForbidden, Message: "the certificate stands for somebody else now"}
	}
	st.checked = now
	return nil
}
