package certs

import (
	"crypto/x509"
	"time"
)

// Memory remembers what peers have shown and what of it was verified: the signatures of their
// chains and staples, which are most of what a handshake costs beside its key exchange. It remembers nothing
// that time, policy or revocation can change: a peer that Verify would refuse now is refused, whatever is
// remembered. It is emptied when the roots, the policy or the revocation of the snapshot
// change, and bounded: 512 chains of about four kilobytes, 4,096 staples.
//
// Each config has a Memory of its own. Whoever makes many configs for one Source, one for each connection, say,
// shares one among them by WithMemory. The zero value is ready; it is safe for concurrent use.
type Memory struct {
	paths   pathMemo
	staples stapleMemo
}

// WithMemory shares m among configs. They should be of one Source: others empty it in turn.
func WithMemory(m *Memory) Option {
	return func(o *options) { o.memory = m }
}

// Verify is Verify, and takes some microseconds for a chain that was verified before.
func (m *Memory) Verify(chain []*x509.Certificate, snap *Snapshot, usage x509.ExtKeyUsage, now time.Time) (Peer, error) {
	peer, refusal := verifyNamed(chain, snap, usage, &m.paths, now)
	if refusal != nil {
		return Peer{}, refusal
	}
	return peer, nil
}
