package certs

import (
	"errors"
	"fmt"
)

// Authorizer decides whether a verified peer may come in: nil for yes, otherwise why
// not. It runs at every handshake, resumed ones too, and is safe for concurrent use.
// There is no default: a nil Authorizer refuses everybody.
type Authorizer func(Peer) error

// AllowID allows exactly these identities. Without any it refuses everybody.
func AllowID(ids ...ID) Authorizer {
	allowed := make(map[ID]struct{}, len(ids))
	for _, id := range ids {
		if !id.IsZero() {
			allowed[id] = struct{}{}
		}
	}
	return func(peer Peer) error {
		if _, ok := allowed[peer.ID]; ok {
			return nil
		}
		return fmt.Errorf("%s is not among the allowed identities", peer.ID)
	}
}

// AllowTrustDomain allows every identity of the trust domain but the reserved ones
// (the CA's servers and the operators), which must be named by AllowID.
func AllowTrustDomain(td TrustDomain) Authorizer {
	return func(peer Peer) error {
		switch {
		case td.IsZero() || peer.ID.TrustDomain() != td:
			return fmt.Errorf("%s is not of trust domain %q", peer.ID, td)
		case peer.ID.IsReserved():
			return fmt.Errorf("%s is one of the CA's own identities, not a service", peer.ID)
		default:
			return nil
		}
	}
}

// AllowPolicy asks the policy that src has at that moment, as the CA pushed it. It
// fails closed: while there is no policy, nobody is allowed.
func AllowPolicy(src Source) Authorizer {
	return func(peer Peer) error {
		if src == nil {
			return ErrPolicyUnknown
		}
		snap, err := src.Current()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrPolicyUnknown, err)
		}
		if snap.Policy != nil && snap.Policy.ID() != snap.ID {
			return fmt.Errorf("%w: there is only the policy of %s", ErrPolicyUnknown, snap.Policy.ID())
		}
		return snap.Policy.Allows(peer.ID)
	}
}

// decide runs allow and names the cause of a refusal.
func (allow Authorizer) decide(peer Peer) (Cause, error) {
	if allow == nil {
		return CausePolicyUnknown, errors.New("no Authorizer was given, so nobody is allowed")
	}
	err := allow(peer)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, ErrPolicyUnknown):
		return CausePolicyUnknown, err
	default:
		return CausePolicyDenied, err
	}
}
