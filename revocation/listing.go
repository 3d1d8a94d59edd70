package revocation

import (
	"maps"
	"time"

	"github.com/handfast/handfast/certs"
)

// Listed calls yield for every certificate that is revoked or on hold, of every issuer
// in the log, also of those that are not in Config.Issuers, until yield returns false. It
// returns the sequence number of the last Sync, at which all of that holds to the entry. No
// lock is held meanwhile. Some that have expired are among them.
//
// serial is the big-endian magnitude without leading zeros, valid until yield returns.
func (p *Publisher) Listed(yield func(issuer string, serial []byte, notAfter time.Time) bool) (upTo uint64) {
	views, upTo := p.follower.views()
	for issuer, v := range views {
		overtaken := v.overtaken()
		for position := range v.count {
			r := v.at(position)
			if overtaken.has(position) || !r.refuses() {
				continue
			}
			if !yield(issuer, r.magnitude(), time.Unix(int64(r.notAfter), 0).UTC()) {
				return upTo
			}
		}
	}
	return upTo
}

// views returns all histories as of one sequence number.
func (f *follower) views() (map[string]view, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	views := make(map[string]view)
	for issuer, h := range f.histories {
		views[issuer] = h.view(f.sequence)
	}
	for issuer, h := range *f.others.Load() {
		views[issuer] = h.view(f.sequence)
	}
	return views, f.sequence
}

// historyOf returns where an issuer's entries belong. What is revoked of an issuer that is
// not configured (an intermediate of the root's, a leaf of a former issuer's) is
// published by nobody here, but it is known. The caller holds f.mu.
func (f *follower) historyOf(issuer string) *history {
	if h := f.histories[issuer]; h != nil {
		return h
	}
	others := *f.others.Load()
	if h := others[issuer]; h != nil {
		return h
	}
	h := newHistory(0)
	others = maps.Clone(others)
	others[issuer] = h
	f.others.Store(&others)
	return h
}

// lookup returns the record of a certificate that is revoked or on hold.
func (f *follower) lookup(issuer string, serial certs.Serial) (record, bool) {
	h := f.histories[issuer] // the map never changes after Open
	if h == nil {
		h = (*f.others.Load())[issuer]
	}
	if h == nil {
		return record{}, false
	}
	return h.lookup(padSerial(serial))
}

// Folded returns a channel that is closed when a certificate is next revoked, held or
// released, as soon as Revoked knows it. Take it before the state is read, so that
// nothing is missed.
func (p *Publisher) Folded() <-chan struct{} { return p.follower.news.wait() }
