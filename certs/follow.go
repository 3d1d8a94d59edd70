package certs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// FollowPath is the path on an agent's local socket where a program follows the agent: each question (POST, a
// FollowRequest in JSON) says what the program enforces by now, and waits for what is new. The answer is an
// UpdateJSON with an ETag, or 304.
const FollowPath = "/v2/follow"

// MaxFollowRequestSize is the most bytes of JSON that DecodeFollowRequest reads.
const MaxFollowRequestSize = 4 << 10

// Limits of a FollowRequest's members.
const (
	followerIDSize = 16 // octets
	maxProgram     = 64
	maxKnown       = 128
	maxFollowWait  = 3600
	maxDomain      = 255
)

// FollowRequest is what a program says to the agent that it follows.
type FollowRequest struct {
	// Follower tells programs apart: 32 hexadecimal digits, random, the same over reconnections.
	Follower string `json:"follower"`
	// Program and PID are for people who look for it: its file's name and its process id, as it sees that itself.
	Program string `json:"program,omitempty"`
	PID     int    `json:"pid,omitempty"`
	// Known is the ETag of the answer that the program has; "" asks for everything, at once.
	Known string `json:"known,omitempty"`
	// WaitSeconds is for how long the agent may wait when Known is what there is.
	WaitSeconds int `json:"wait_seconds"`
	// Enforces is what the program judges its peers by from now on: whoever it forbids is refused. Nil is nothing at
	// all: the program lets nobody in.
	Enforces *FollowPosition `json:"enforces"`
}

// FollowPosition is up to where a snapshot knows the CA's feed of revocations, and until when whoever judges by it lets
// anybody in without hearing more.
type FollowPosition struct {
	TrustDomain string    `json:"trust_domain"`
	Sequence    uint64    `json:"sequence"` // 0: nothing of the feed
	Until       time.Time `json:"until"`
}

// Position returns s's. Until is when the feed has been silent for too long or the own certificate ends, whichever
// comes first: every handshake fails then, but for peers about whose revocation nobody has to know (noRevAvail).
func (s *Snapshot) Position() FollowPosition {
	until := s.Certificate.Leaf.NotAfter
	view := s.Revocation.Feed()
	if view != nil {
		until = earlier(until, view.Until(s.Revocation.MaxSilence()))
	}
	return FollowPosition{TrustDomain: s.ID.TrustDomain().String(), Sequence: view.Sequence(), Until: until.UTC()}
}

// DecodeFollowRequest reads a FollowRequest, strictly and with limits. Its errors do not quote it.
func DecodeFollowRequest(data []byte) (*FollowRequest, error) {
	if len(data) > MaxFollowRequestSize {
		return nil, fmt.Errorf("follow request: over %d bytes", MaxFollowRequestSize)
	}
	r := new(FollowRequest)
	if err := decodeStrict(data, r); err != nil {
		return nil, fmt.Errorf("follow request: %w", redact(err))
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("follow request: %w", err)
	}
	return r, nil
}

func (r *FollowRequest) check() error {
	id, err := hex.DecodeString(r.Follower)
	switch {
	case err != nil || len(id) != followerIDSize || hex.EncodeToString(id) != r.Follower:
		return errors.New("the follower's ID is not 32 hexadecimal digits in lower case")
	case r.Program != printable(r.Program) || r.PID < 0:
		return errors.New("the program's name or id is malformed")
	case len(r.Known) > maxKnown:
		return errors.New("the ETag is too long")
	case r.WaitSeconds < 0 || r.WaitSeconds > maxFollowWait:
		return errors.New("the time to wait is out of range")
	case r.Enforces != nil && len(r.Enforces.TrustDomain) > maxDomain:
		return errors.New("the trust domain is too long")
	}
	return nil
}

// printable returns name as it may stand in a FollowRequest: visible ASCII, not too long.
func printable(name string) string {
	out := make([]byte, 0, maxProgram)
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' {
			c = '_'
		}
		if len(out) < maxProgram {
			out = append(out, c)
		}
	}
	return string(out)
}
