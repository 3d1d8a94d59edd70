package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation/ocsp"
)

// askTimeout is how long the ledger may take to say whether it issued a serial. Whoever
// asked has no context that ends earlier: fasthttp does not watch for clients that hang up.
const askTimeout = 5 * time.Second

// errOverloaded tells why a request was turned away; what is kept is still answered.
var errOverloaded = errors.New("more OCSP responses are asked for at a time than are signed")

// sign makes a new response, unless too many are being made.
func (r *responder) sign(s *subject, d *delegate, request *ocsp.Request, now time.Time, cacheable bool) (*reply, tally, error) {
	select {
	case r.signing <- struct{}{}:
		defer func() { <-r.signing }()
	default:
		return failed(ocsp.TryLater), tally{}, errOverloaded
	}
	now = now.Truncate(time.Second)
	fresh := &reply{tail: d.tail, delegate: d, thisUpdate: now, nextUpdate: now.Add(r.config.OCSPValidity)}
	if fresh.nextUpdate.After(d.notAfter) {
		fresh.nextUpdate = d.notAfter.UTC()
	}
	fresh.times = r.timesOf(fresh.thisUpdate, fresh.nextUpdate)
	fresh.due = now.Add(fresh.nextUpdate.Sub(now) / 2)
	data := ocsp.Data{ResponderKeyHash: d.keyHash, ProducedAt: now}
	if len(request.Nonce) <= maxEcho {
		data.Nonce = request.Nonce
	}
	var statuses tally
	for _, id := range request.IDs {
		single, sequence, err := r.status(s, id)
		if err != nil {
			return failed(ocsp.TryLater), tally{}, err
		}
		single.ThisUpdate, single.NextUpdate = fresh.thisUpdate, fresh.nextUpdate
		data.Singles = append(data.Singles, single)
		fresh.status, fresh.sequence = single.Status, sequence
		statuses[single.Status]++
	}
	response, err := d.signed(data)
	if err != nil {
		return failed(ocsp.InternalError), tally{}, err
	}
	fresh.head = response[: len(response)-len(d.tail) : len(response)-len(d.tail)]
	fresh.etag = etagOfResponse(response)
	if fresh.shareable = cacheable && statuses[ocsp.Unknown] == 0; fresh.shareable {
		serial, _ := serialOf(request.IDs[0]) // it has one, or its status would be unknown
		fresh.subject, fresh.serial = s, padSerial(serial)
		r.metrics.cached.Set(float64(r.cache.put(request.IDs[0].Raw, fresh)))
	}
	return fresh, statuses, nil
}

// signedTimes are the times of the last response that was signed.
type signedTimes struct {
	thisUpdate, nextUpdate time.Time
	times                  *httpTimes
}

// timesOf returns the times as headers have them: what is signed in the same second shares
// them, which spares a hundred octets of each response that is kept.
func (r *responder) timesOf(thisUpdate, nextUpdate time.Time) *httpTimes {
	last := r.times.Load()
	if last == nil || !last.thisUpdate.Equal(thisUpdate) || !last.nextUpdate.Equal(nextUpdate) {
		last = &signedTimes{thisUpdate: thisUpdate, nextUpdate: nextUpdate, times: newHTTPTimes(thisUpdate, nextUpdate)}
		r.times.Store(last)
	}
	return last.times
}

// status says what is known of one certificate. The answer "good" needs the ledger's word
// that it was issued; a revocation that is folded while the ledger is asked still counts.
func (r *responder) status(s *subject, id ocsp.CertID) (ocsp.Single, uint64, error) {
	single := ocsp.Single{ID: id, Status: ocsp.Unknown}
	serial, ok := serialOf(id)
	if !ok || r.subjectOf(id) != s {
		return single, 0, nil
	}
	padded := padSerial(serial)
	last, known := s.last(padded)
	if !known || !last.refuses() {
		issued, err := r.issued(s.issuer, serial)
		if err != nil {
			return single, 0, fmt.Errorf("ask the ledger for serial %s: %w", serial, err)
		}
		if !issued {
			return single, 0, nil
		}
		last, known = s.last(padded)
	}
	if !known || !last.refuses() {
		single.Status = ocsp.Good
		return single, last.sequence, nil
	}
	single.Status, single.Reason = ocsp.Revoked, certs.Reason(last.reason)
	single.RevokedAt = time.Unix(int64(last.at), 0)
	return single, last.sequence, nil
}

func (r *responder) issued(issuer string, serial certs.Serial) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	return r.config.Log.Issued(ctx, issuer, serial)
}
