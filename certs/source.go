package certs

import "crypto/tls"

// Source hands out what this process is and whom it trusts, as of now.
//
// Current is called at every handshake: it is cheap, safe for concurrent use and
// never blocks on the network. It fails while there is nothing that may be used
// (not enrolled yet, or the last certificate has expired); callers fail closed.
type Source interface {
	Current() (*Snapshot, error)
}

// Snapshot is one consistent state: certificate, key, trust, policy and
// revocation that belong together. It is immutable once published; rotation
// publishes another one.
type Snapshot struct {
	// Certificate is the process's own chain (leaf first, without the root) and
	// key; Leaf is always set. OCSPStaple is its staple, if there is one.
	Certificate *tls.Certificate
	// ID is the identity in Certificate.Leaf.
	ID ID
	// Bundle holds the roots to trust.
	Bundle *Bundle
	// Policy says who may call this service. Nil means unknown: every caller is refused.
	Policy *Policy
	// Revocation says which certificates are revoked. Nil means unknown: every peer is refused.
	Revocation *Revocation
}
