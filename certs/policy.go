package certs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// AnyCaller stands in a policy's callers for every service of the trust domain.
const AnyCaller = "*"

// Limits of a policy.
const (
	maxCallers    = 10_000
	maxPolicySize = 4 << 20 // bytes of policy.json
)

// ErrPolicyUnknown is returned by a nil Policy: what is unknown is denied.
var ErrPolicyUnknown = errors.New("policy is unknown, so nobody is allowed")

// Policy says who may call one service. It is immutable and safe for concurrent use.
// A nil policy allows nobody.
type Policy struct {
	id      ID
	any     bool
	callers map[ID]struct{}
}

// NewPolicy makes the policy of the service id. Each caller is a SPIFFE ID of id's
// trust domain, or AnyCaller for every identity of that domain but the reserved ones.
// No callers means that nobody may call.
func NewPolicy(id ID, callers []string) (*Policy, error) {
	if id.IsZero() {
		return nil, errors.New("policy names no service")
	}
	if len(callers) > maxCallers {
		return nil, fmt.Errorf("policy of %s has %d callers; at most %d are allowed", id, len(callers), maxCallers)
	}
	p := &Policy{id: id, callers: make(map[ID]struct{}, len(callers))}
	for _, name := range callers {
		if name == AnyCaller {
			p.any = true
			continue
		}
		caller, err := ParseID(name)
		if err != nil {
			return nil, fmt.Errorf("policy of %s: caller: %w", id, err)
		}
		if caller.TrustDomain() != id.TrustDomain() {
			return nil, fmt.Errorf("policy of %s: caller %s is of another trust domain", id, caller)
		}
		p.callers[caller] = struct{}{}
	}
	return p, nil
}

// ID returns the service whose policy this is.
func (p *Policy) ID() ID { return p.id }

// Callers returns what NewPolicy took, sorted and without duplicates.
func (p *Policy) Callers() []string {
	callers := make([]string, 0, len(p.callers)+1)
	if p.any {
		callers = append(callers, AnyCaller)
	}
	for caller := range p.callers {
		callers = append(callers, caller.String())
	}
	slices.Sort(callers)
	return callers
}

// Allows returns nil when caller may call the service, and otherwise why not. It
// fails closed: a nil policy is ErrPolicyUnknown.
func (p *Policy) Allows(caller ID) error {
	if p == nil {
		return ErrPolicyUnknown
	}
	if _, named := p.callers[caller]; named {
		return nil
	}
	if p.any && caller.TrustDomain() == p.id.TrustDomain() && !caller.IsReserved() {
		return nil
	}
	return fmt.Errorf("%s may not call %s: it is not among the allowed callers", caller, p.id)
}

// ParsePolicy reads policy.json strictly: {"id": "spiffe://...", "callers": [...]},
// both members, no others, nothing behind. At most 4 MiB are read.
func ParsePolicy(data []byte) (*Policy, error) {
	if len(data) > maxPolicySize {
		return nil, fmt.Errorf("policy has %d bytes; at most %d are allowed", len(data), maxPolicySize)
	}
	var wire PolicyJSON
	if err := decodeStrict(data, &wire); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return wire.policy()
}

// MarshalJSON writes what ParsePolicy reads.
func (p *Policy) MarshalJSON() ([]byte, error) {
	return json.Marshal(PolicyJSON{ID: p.id, Callers: p.Callers()})
}

func (w PolicyJSON) policy() (*Policy, error) {
	if w.Callers == nil {
		return nil, errors.New("policy has no callers member; an empty list means nobody")
	}
	return NewPolicy(w.ID, w.Callers)
}

// decodeStrict decodes one JSON value into v: unknown members and trailing data are errors.
func decodeStrict(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the JSON value")
	}
	return nil
}
