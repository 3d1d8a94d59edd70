package broadcast

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

// signer is a key and what goes before its first statement to a follower. It never changes.
type signer struct {
	key         crypto.Signer
	certificate *x509.Certificate
	message     []byte // with the chain, as followers get it
}

// SetSigner sets who signs from now on: a key, and its certificate's chain without the root,
// leaf first. With a nil key, and once the certificate has expired, no statements are made. A key
// that the certificate is not for is the same as none, and logged.
func (b *Broadcaster) SetSigner(key crypto.Signer, chain []*x509.Certificate) {
	var next *signer
	if key != nil {
		var err error
		if next, err = newSigner(key, chain); err != nil {
			b.config.Logger.Error("the feed's signer is not used; no statements are made", "error", err)
		}
	}
	b.signer.Store(next)
	b.Notify()
}

func newSigner(key crypto.Signer, chain []*x509.Certificate) (*signer, error) {
	if len(chain) == 0 {
		return nil, errors.New("its certificate is missing")
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		return nil, errors.New("its key is not its certificate's")
	}
	var payload []byte
	for _, certificate := range chain {
		payload = append(payload, certificate.Raw...)
	}
	return &signer{key: key, certificate: chain[0], message: feed.AppendMessage(nil, feed.SignerMessage, payload)}, nil
}

// valid says why the signer may not sign at this time, or nil. It may be nil.
func (s *signer) valid(at time.Time) error {
	switch {
	case s == nil:
		return errors.New("nobody may sign the feed yet: the CA makes a signer when it starts; see its log")
	case at.Before(s.certificate.NotBefore) || !at.Before(s.certificate.NotAfter):
		return fmt.Errorf("the feed's signer is valid from %s to %s, and it is %s: the CA makes another one; see its log",
			s.certificate.NotBefore.Format(time.RFC3339), s.certificate.NotAfter.Format(time.RFC3339), at.Format(time.RFC3339))
	}
	return nil
}

// nextUpdate is when a statement of this time ends: no statement outlives its signer.
func (s *signer) nextUpdate(at time.Time, validity time.Duration) time.Time {
	if end := at.Add(validity); end.Before(s.certificate.NotAfter) {
		return end
	}
	return s.certificate.NotAfter.UTC()
}
