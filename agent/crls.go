package agent

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// fetchCRLs returns the CRLs to hold: of each issuer that the CA names, the one that is held
// or a newer one. The error names what could not be fetched; then the older one stands in.
func (a *Agent) fetchCRLs(ctx context.Context, client CA, refs []api.CRLRef) ([]storedCRL, error) {
	var held enforcement
	a.mu.Lock()
	if a.rules != nil {
		held = a.rules.raw
	}
	a.mu.Unlock()
	if len(refs) > maxIssuers {
		return held.CRLs, fmt.Errorf("the CA names CRLs of %d issuers; at most %d are allowed", len(refs), maxIssuers)
	}
	crls := make([]storedCRL, 0, len(refs)+1)
	var failed error
	room := maxCRLBytes
	for _, ref := range refs {
		wanted, err := parseNumber(ref)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		crl, enough := held.held(ref.Issuer, wanted)
		if !enough {
			fetched, err := fetchCRL(ctx, client, ref)
			if err == nil {
				crl = fetched
			}
			failed = errors.Join(failed, err)
		}
		if room -= len(crl.DER); room < 0 {
			return crls, errors.Join(failed, fmt.Errorf("the CA's CRLs have over %d bytes together; the issuer %s and those after it are left out, and their peers refused", maxCRLBytes, ref.Issuer))
		}
		if crl.DER != nil {
			crls = append(crls, crl)
		}
	}
	return a.keepFull(crls, held.CRLs, room), failed
}

// keepFull adds what is held beside the CRLs that the CA names: the full CRLs of issuers that the feed covers, when
// they are wanted, and what a state from before the feed has until the feed is there.
func (a *Agent) keepFull(crls, held []storedCRL, room int) []storedCRL {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keptOld = false
	for _, crl := range held {
		named := slices.ContainsFunc(crls, func(other storedCRL) bool { return other.Issuer == crl.Issuer })
		wanted := a.view == nil || a.fullCRLs && a.view.Covers(crl.Issuer)
		if room -= len(crl.DER); !named && wanted && room >= 0 && len(crls) < maxIssuers {
			crls = append(crls, crl)
			a.keptOld = !a.fullCRLs
		}
	}
	return crls
}

// fetchCRL takes a CRL only when it is of the issuer that was asked for, and not older than promised.
func fetchCRL(ctx context.Context, client CA, ref api.CRLRef) (storedCRL, error) {
	wanted, err := parseNumber(ref)
	if err != nil {
		return storedCRL{}, err
	}
	der, _, err := client.CRL(ctx, ref.Issuer, "")
	if err != nil {
		return storedCRL{}, fmt.Errorf("fetch the CRL of issuer %s: %w", ref.Issuer, err)
	}
	number, err := numberOf(ref.Issuer, der)
	if err != nil {
		return storedCRL{}, err
	}
	if number.Cmp(wanted) < 0 {
		return storedCRL{}, fmt.Errorf("the CRL of issuer %s has number %v; the CA promised %v", ref.Issuer, number, wanted)
	}
	return storedCRL{Issuer: ref.Issuer, Number: number.String(), DER: der}, nil
}

// numberOf is the number of a CRL, which has to be issuer's.
func numberOf(issuer string, der []byte) (*big.Int, error) {
	parsed, err := certs.NewRevocation([][]byte{der})
	if err != nil {
		return nil, fmt.Errorf("the CRL of issuer %s cannot be used: %w", issuer, err)
	}
	number := parsed.Numbers()[issuer]
	if number == nil {
		return nil, fmt.Errorf("the CRL that came for issuer %s is another issuer's", issuer)
	}
	return number, nil
}
