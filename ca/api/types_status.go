package api

import "time"

// Status is the CA's own view of itself.
type Status struct {
	Name        string      `json:"name"`
	Version     string      `json:"version"`
	TrustDomain string      `json:"trust_domain"`
	Fingerprint string      `json:"fingerprint"` // SHA-256 of the root, lower-case hexadecimal
	Ready       bool        `json:"ready"`
	Problems    []string    `json:"problems,omitempty"`
	ServerTime  time.Time   `json:"server_time"`
	StartedAt   time.Time   `json:"started_at"`
	Issuers     []Authority `json:"issuers"` // the active one first
	Roots       []Authority `json:"roots"`
	CRLs        []CRLStatus `json:"crls"`
	Services    int         `json:"services"`
	Live        int         `json:"live"` // certificates neither expired nor revoked nor on hold
	Revoked     int         `json:"revoked"`
	Held        int         `json:"held"`     // on hold
	Sequence    uint64      `json:"sequence"` // of the feed: what agents are to enforce
	Agents      AgentCounts `json:"agents"`
	You         string      `json:"you"` // the asking operator's identity
	Role        string      `json:"role"`
}

// Authority is a CA certificate.
type Authority struct {
	Subject  string    `json:"subject"`
	KeyID    string    `json:"key_id"`
	NotAfter time.Time `json:"not_after"`
}

// CRLStatus is the state of a published CRL.
type CRLStatus struct {
	Issuer     string    `json:"issuer"`
	Number     string    `json:"number"`
	Entries    int       `json:"entries"`
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"`
}
