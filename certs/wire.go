package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// SnapshotPath is the path of the snapshot on an agent's local socket.
const SnapshotPath = "/v1/snapshot"

// MaxSnapshotSize is the most bytes of JSON that DecodeSnapshot reads.
const MaxSnapshotSize = 128 << 20

// SnapshotJSON is a snapshot as it travels over an agent's local socket. It holds the
// private key: the socket's permissions are what protects it.
type SnapshotJSON struct {
	Chain  [][]byte    `json:"chain"`            // DER, the leaf first, without the root
	Key    []byte      `json:"key"`              // PKCS #8, DER
	Roots  [][]byte    `json:"roots"`            // DER
	CRLs   [][]byte    `json:"crls"`             // DER, full; null is unknown: every peer is refused
	Policy *PolicyJSON `json:"policy"`           // null is unknown: every caller is refused
	Staple []byte      `json:"staple,omitempty"` // OCSPResponse for the leaf, DER
	// Feed is what is known from the CA's feed of revocations (feed.View.MarshalBinary), and MaxSilence
	// for how many seconds the feed may be silent; 0 is until its nextUpdate.
	Feed       []byte `json:"feed,omitempty"`
	MaxSilence int64  `json:"max_silence,omitempty"`
}

// PolicyJSON is a policy on the wire and in policy.json.
type PolicyJSON struct {
	ID      ID       `json:"id"`
	Callers []string `json:"callers"`
}

// EncodeSnapshot writes what DecodeSnapshot reads. It fails when the key cannot leave
// its place (in hardware, say).
func EncodeSnapshot(s *Snapshot) ([]byte, error) {
	wire, err := s.wire()
	if err != nil {
		return nil, err
	}
	return json.Marshal(wire)
}

func (s *Snapshot) wire() (*SnapshotJSON, error) {
	if s == nil || s.Certificate == nil || s.Bundle == nil {
		return nil, errors.New("encode snapshot: it is not complete")
	}
	key, err := x509.MarshalPKCS8PrivateKey(s.Certificate.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: the private key of %s cannot be exported", s.ID)
	}
	wire := &SnapshotJSON{Chain: s.Certificate.Certificate, Key: key, Staple: s.Certificate.OCSPStaple}
	for _, root := range s.Bundle.roots {
		wire.Roots = append(wire.Roots, root.Raw)
	}
	if s.Revocation != nil {
		wire.CRLs = s.Revocation.CRLs()
		if wire.Feed, wire.MaxSilence, err = s.Revocation.encodeFeed(); err != nil {
			return nil, fmt.Errorf("encode snapshot: %w", err)
		}
	}
	if s.Policy != nil {
		wire.Policy = &PolicyJSON{ID: s.Policy.ID(), Callers: s.Policy.Callers()}
	}
	return wire, nil
}

// DecodeSnapshot reads what EncodeSnapshot wrote, strictly: a member that this version
// does not know might narrow what is allowed, so it is an error and new members come with a
// new path. The parts are checked as in NewSnapshot.
func DecodeSnapshot(data []byte) (*Snapshot, error) {
	return decodeSnapshot(data, nil)
}

func decodeSnapshot(data []byte, old *Snapshot) (*Snapshot, error) {
	if len(data) > MaxSnapshotSize {
		return nil, fmt.Errorf("decode snapshot: %d bytes; at most %d are allowed", len(data), MaxSnapshotSize)
	}
	var wire SnapshotJSON
	if err := decodeStrict(data, &wire); err != nil {
		return nil, fmt.Errorf("decode snapshot: %w", redact(err))
	}
	return wire.snapshot(old)
}

// snapshot takes the revocation data from old when its bytes are the same, so that CRLs are
// neither indexed nor verified again, nor the feed's set.
func (wire *SnapshotJSON) snapshot(old *Snapshot) (*Snapshot, error) {
	if len(wire.Chain) == 0 || len(wire.Chain) > maxPresented || len(wire.Roots) > maxRoots {
		return nil, errors.New("decode snapshot: too few or too many certificates")
	}
	key, err := parseKey(wire.Key)
	if err != nil {
		return nil, fmt.Errorf("decode snapshot: %w", err)
	}
	chain, err := parseAll(wire.Chain)
	if err != nil {
		return nil, fmt.Errorf("decode snapshot: chain: %w", err)
	}
	roots, err := parseAll(wire.Roots)
	if err != nil {
		return nil, fmt.Errorf("decode snapshot: roots: %w", err)
	}
	var revocation *Revocation
	if wire.CRLs != nil {
		if revocation, err = reuseRevocation(wire.CRLs, old); err == nil {
			revocation, err = revocation.decodeFeed(wire.Feed, wire.MaxSilence, old)
		}
		if err != nil {
			return nil, fmt.Errorf("decode snapshot: %w", err)
		}
	} else if wire.Feed != nil {
		return nil, errors.New("decode snapshot: a feed without CRLs; an empty list is none")
	}
	var policy *Policy
	if wire.Policy != nil {
		if policy, err = wire.Policy.policy(); err != nil {
			return nil, fmt.Errorf("decode snapshot: %w", err)
		}
	}
	own := certificateOf(chain, key)
	own.OCSPStaple = wire.Staple
	return NewSnapshot(own, roots, policy, revocation)
}

func certificateOf(chain []*x509.Certificate, key crypto.Signer) *tls.Certificate {
	certificate := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, cert := range chain {
		certificate.Certificate = append(certificate.Certificate, cert.Raw)
	}
	return certificate
}

// redact keeps what encoding/json says about the place and drops the rest: it may quote
// what it chokes on.
func redact(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("malformed JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("member %q has the wrong type", kind.Field)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON is cut off")
	default:
		return errors.New("a member is not known here, or its value is malformed; are agent and library of the same version?")
	}
}

// reuseRevocation returns old's Revocation when it is of the same bytes.
func reuseRevocation(ders [][]byte, old *Snapshot) (*Revocation, error) {
	if old != nil && old.Revocation.madeOf(ders) {
		return old.Revocation, nil
	}
	return NewRevocation(ders)
}
