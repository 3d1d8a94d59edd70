package agent

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/handfast/handfast/agent/pace"
	"github.com/handfast/handfast/certs/feed"
)

// Times of fetching full CRLs.
const (
	gatherCRLs   = time.Second     // after news: the CA publishes within a second, and once for all that came
	longestCRLs  = time.Hour       // between two looks
	shortestCRLs = 5 * time.Second // likewise, while there is nothing that is missing
)

var errCRLBehind = errors.New("the CA has not published the CRL with the newest revocations yet")

// noteWanted notes which CRL has to have which number: an entry's sequence is the number of the CRL that
// lists it. mu is held.
func (a *Agent) noteWanted(entries []feed.Entry) {
	for _, entry := range entries {
		if a.fullCRLs {
			a.wanted[entry.Issuer] = max(a.wanted[entry.Issuer], entry.Sequence)
		}
	}
}

// followCRLs keeps the full CRLs of the issuers that the feed covers, for programs that read files, until
// round ends: it looks after each news, and as a CRL's end comes nearer.
func (a *Agent) followCRLs(round context.Context, client CA) {
	retry := pace.Backoff{Jitter: a.jitter}
	etags := make(map[string]string)
	for round.Err() == nil {
		err := a.refreshCRLs(round, client, etags)
		var wait time.Duration
		switch {
		case round.Err() != nil:
			return
		case err == nil:
			retry.Reset()
			wait = a.nextCRLs()
		default:
			wait = min(retry.Next(err, 0), longestFeedDelay)
			if !errors.Is(err, errCRLBehind) {
				a.fail("crl", err, wait)
			}
		}
		waitChange(round, a.newCRLs, wait)
		sleep(round, gatherCRLs)
	}
}

// nextCRLs is when the CRLs are looked at without news: after a third of what is left of the shortest.
func (a *Agent) nextCRLs() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait := longestCRLs
	if a.rules == nil || a.view == nil {
		return shortestCRLs
	}
	for _, crl := range a.rules.crls {
		wait = min(wait, crl.NextUpdate.Sub(a.now())/3)
	}
	return max(wait, shortestCRLs)
}

// refreshCRLs asks for the CRL of each issuer that the feed covers, and makes what is new durable.
func (a *Agent) refreshCRLs(ctx context.Context, client CA, etags map[string]string) error {
	a.mu.Lock()
	cred, held := a.cred, a.rules
	issuers := a.view.Issuers()
	a.mu.Unlock()
	if held == nil || len(issuers) > maxIssuers {
		return nil // policy comes first
	}
	raw := held.raw
	raw.CRLs = slices.Clone(raw.CRLs)
	var failed error
	for _, issuer := range issuers {
		etag := etags[issuer]
		if _, there := held.raw.held(issuer, new(big.Int)); !there {
			etag = ""
		}
		der, next, err := client.CRL(ctx, issuer, etag)
		if err == nil && der != nil {
			err = raw.replace(issuer, der)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("full CRL of issuer %s: %w", issuer, err))
			continue
		}
		etags[issuer] = next
		if _, enough := raw.held(issuer, a.wantedOf(issuer)); !enough {
			failed = errors.Join(failed, errCRLBehind)
		}
	}
	return errors.Join(a.takeCRLs(cred, held, raw), failed)
}

func (a *Agent) wantedOf(issuer string) *big.Int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return new(big.Int).SetUint64(a.wanted[issuer])
}

// takeCRLs puts raw in force, unless the rules have changed since held.
func (a *Agent) takeCRLs(cred *credential, held *rules, raw enforcement) error {
	if raw.equal(held.raw) {
		return nil
	}
	parsed, err := raw.parse(held)
	if err != nil {
		return err
	}
	a.mu.Lock()
	changed := a.rules != held
	a.mu.Unlock()
	if changed {
		return errCRLBehind // and is fetched again under the new rules
	}
	return a.enforce(cred, parsed, cred.raw.Roots)
}

// replace puts a CRL of issuer in the place of an older one.
func (raw *enforcement) replace(issuer string, der []byte) error {
	number, err := numberOf(issuer, der)
	if err != nil {
		return err
	}
	if _, newer := raw.held(issuer, number); newer {
		return nil // an older CRL never replaces a newer one
	}
	total := len(der)
	for _, crl := range raw.CRLs {
		if crl.Issuer != issuer {
			total += len(crl.DER)
		}
	}
	if total > maxCRLBytes {
		return fmt.Errorf("the CRLs would have over %d bytes together", maxCRLBytes)
	}
	raw.CRLs = append(slices.DeleteFunc(raw.CRLs, func(crl storedCRL) bool { return crl.Issuer == issuer }),
		storedCRL{Issuer: issuer, Number: number.String(), DER: der})
	return nil
}
