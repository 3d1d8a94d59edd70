package agent

import (
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// maxIssuers and maxCRLBytes bound the CRLs that the CA may make an agent hold. The bytes are what certs accepts
// of all together, so that nothing is fetched that could not be used; certs bounds the callers.
const (
	maxIssuers  = 64
	maxCRLBytes = 90 << 20
)

// enforcement is what the CA said last about who may call and what is revoked, as it
// stands in its state file.
type enforcement struct {
	ID          certs.ID    `json:"id"`
	Callers     []string    `json:"callers"`
	PolicyEpoch uint64      `json:"policy_epoch"`
	CRLs        []storedCRL `json:"crls"`
	ConfirmedAt time.Time   `json:"confirmed_at"` // our clock when the CA said so
	// Versions are what the feed names for this state. None: it was saved before there was a feed, or the CA has none.
	Versions   []api.Version `json:"versions,omitempty"`
	MaxSilence api.Duration  `json:"max_silence,omitempty"` // of the feed; 0: until the statement's nextUpdate
}

type storedCRL struct {
	Issuer string `json:"issuer"`
	Number string `json:"number"`
	DER    []byte `json:"der"`
}

// rules is a parsed enforcement. It is immutable.
type rules struct {
	raw        enforcement
	policy     *certs.Policy
	revocation *certs.Revocation
	crls       []CRLStatus
}

// parse checks that every part can be used; one that cannot makes the whole
// unusable, and then every caller is refused. CRLs that held has are not read again.
func (raw enforcement) parse(held *rules) (*rules, error) {
	if raw.MaxSilence < 0 {
		return nil, fmt.Errorf("max_silence: %v", time.Duration(raw.MaxSilence))
	}
	if len(raw.CRLs) > maxIssuers {
		return nil, fmt.Errorf("revocation: CRLs of %d issuers; at most %d are allowed", len(raw.CRLs), maxIssuers)
	}
	policy, err := certs.NewPolicy(raw.ID, raw.Callers)
	if err != nil {
		return nil, err
	}
	if held != nil && slices.EqualFunc(raw.CRLs, held.raw.CRLs, storedCRL.same) {
		raw.CRLs = held.raw.CRLs
		return &rules{raw: raw, policy: policy, revocation: held.revocation, crls: held.crls}, nil
	}
	ders := make([][]byte, len(raw.CRLs))
	states := make([]CRLStatus, len(raw.CRLs))
	for i, crl := range raw.CRLs {
		ders[i] = crl.DER
		states[i], err = crl.status()
		if err != nil {
			return nil, err
		}
	}
	revocation, err := certs.NewRevocation(ders)
	if err != nil {
		return nil, fmt.Errorf("revocation: %w", err)
	}
	return &rules{raw: raw, policy: policy, revocation: revocation, crls: states}, nil
}

// equal reports whether raw and other say the same. Of a CRL, issuer and number say which it is.
func (raw enforcement) equal(other enforcement) bool {
	return raw.ID == other.ID && raw.PolicyEpoch == other.PolicyEpoch && slices.Equal(raw.Callers, other.Callers) &&
		raw.MaxSilence == other.MaxSilence && slices.Equal(raw.Versions, other.Versions) &&
		slices.EqualFunc(raw.CRLs, other.CRLs, storedCRL.same)
}

// same reports whether crl and other are the same CRL: issuer and number say which one it is.
func (crl storedCRL) same(other storedCRL) bool {
	return crl.Issuer == other.Issuer && crl.Number == other.Number
}

func (crl storedCRL) status() (CRLStatus, error) {
	header, err := parseCRLHeader(crl.DER)
	if err != nil {
		return CRLStatus{}, fmt.Errorf("CRL of issuer %s: %w", crl.Issuer, err)
	}
	return CRLStatus{
		Issuer: crl.Issuer, Number: crl.Number,
		ThisUpdate: header.thisUpdate, NextUpdate: header.nextUpdate,
	}, nil
}

// held returns the CRL of issuer in raw, and whether its number reaches wanted.
func (raw enforcement) held(issuer string, wanted *big.Int) (storedCRL, bool) {
	for _, crl := range raw.CRLs {
		if crl.Issuer != issuer {
			continue
		}
		number, ok := new(big.Int).SetString(crl.Number, 10)
		return crl, ok && number.Cmp(wanted) >= 0
	}
	return storedCRL{}, false
}

// parseNumber reads a CRLNumber (RFC 5280, section 5.2.3: at most 20 octets).
func parseNumber(ref api.CRLRef) (*big.Int, error) {
	const maxDigits = 49 // of a 20-octet number
	number, ok := new(big.Int), false
	if len(ref.Number) <= maxDigits {
		number, ok = number.SetString(ref.Number, 10)
	}
	if !ok || number.Sign() < 0 {
		return nil, fmt.Errorf("CRL of issuer %s: its number is not one", ref.Issuer)
	}
	return number, nil
}
