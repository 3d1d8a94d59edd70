package api

import (
	"time"

	"github.com/handfast/handfast/certs"
)

// Version says which edition of something is current. Its value is opaque: another one
// means that what it names has to be fetched again.
type Version struct {
	Name  string `json:"name"` // policy, bundle, crls; others are ignored
	Value string `json:"value"`
}

// RevocationState is what the CA's ledger says about one certificate. A serial that it does
// not know is not_found, never good.
type RevocationState struct {
	Revoked  bool         `json:"revoked"` // or on hold
	Reason   certs.Reason `json:"reason,omitempty"`
	At       time.Time    `json:"at,omitzero"`
	Sequence uint64       `json:"sequence"` // of the entry that says so; when not revoked, of the feed when it was looked up
}

// AgentRef names an agent.
type AgentRef struct {
	Service  string       `json:"service"`
	Agent    string       `json:"agent"`             // its ID, 32 hexadecimal digits
	Serial   certs.Serial `json:"serial,omitzero"`   // of the certificate that it showed last
	Address  string       `json:"address,omitempty"` // the IP address that it came from
	Since    time.Time    `json:"since,omitzero"`    // connected or silent since
	Sequence uint64       `json:"sequence"`          // what it enforces
}

// Progress says how far a revocation has come: who refuses what was revoked up to Sequence.
// Agents whose certificate is revoked or has expired are not counted, nor those that have
// stopped in an orderly way: nobody accepts them, or they accept nobody.
type Progress struct {
	Sequence uint64 `json:"sequence"`
	// Known says that the CA saw the revocation become durable and measured from then on. It
	// forgets the times, but not who enforces what, when it restarts and after a while.
	Known     bool       `json:"known"`
	Agents    int        `json:"agents"`
	Enforcing int        `json:"enforcing"`
	Connected int        `json:"connected"`
	Measured  int        `json:"measured"`   // agents that the times are about
	MedianMS  float64    `json:"median_ms"`  // from durable to acknowledged, of those that were measured
	SlowestMS float64    `json:"slowest_ms"` // likewise
	Slowest   *AgentRef  `json:"slowest,omitempty"`
	Pending   []AgentRef `json:"pending"` // connected, but not there yet; the first MaxNamed
	Silent    []AgentRef `json:"silent"`  // not connected and not there yet; the first MaxNamed
	// PendingTotal and SilentTotal are how many the lists stand for.
	PendingTotal int `json:"pending_total"`
	SilentTotal  int `json:"silent_total"`
}

// MaxNamed is how many agents each list of a Progress and of AgentCounts names at most.
const MaxNamed = 100

// The states of an agent.
const (
	AgentCurrent = "current" // connected, and enforces all there is
	AgentLagging = "lagging" // connected, and enforces less
	AgentSilent  = "silent"  // not connected, with a certificate that is valid
	AgentStopped = "stopped" // said that it stops, and has not come back
	AgentExpired = "expired" // not connected, with a certificate that has expired
	AgentRevoked = "revoked" // its certificate is revoked or on hold
)

// Agent is one agent that the CA knows.
type Agent struct {
	ID         string       `json:"id"` // made by the agent: 32 hexadecimal digits
	Service    string       `json:"service"`
	State      string       `json:"state"`
	Serial     certs.Serial `json:"serial"` // of the certificate that it showed last
	NotAfter   time.Time    `json:"not_after"`
	Version    string       `json:"version,omitempty"` // of the program, as it says
	Address    string       `json:"address,omitempty"` // the IP address that it came from
	Since      time.Time    `json:"since"`             // in this state: connected, or not
	Sequence   uint64       `json:"sequence"`          // what it enforces
	EnforcedAt time.Time    `json:"enforced_at,omitzero"`
}

// AgentList is a page by service and ID; query parameters: state, service, q (part of a
// service's name, or the beginning of an ID), limit, cursor.
type AgentList struct {
	Agents   []Agent `json:"agents"`
	Sequence uint64  `json:"sequence"` // what there is to enforce
	Next     string  `json:"next,omitempty"`
}

// AgentCounts are status's. Known counts the connected and the silent ones.
type AgentCounts struct {
	Known     int `json:"known"`
	Connected int `json:"connected"`
	Lagging   int `json:"lagging"`
	Silent    int `json:"silent"`
	// Behind names those that lag or are silent; the first MaxNamed.
	Behind []Agent `json:"behind,omitempty"`
}
