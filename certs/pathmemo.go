package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

// maxPathMemo bounds how many chains are remembered: a peer's takes about four kilobytes.
const maxPathMemo = 512

// pathMemo remembers which paths findPaths has found, because a peer shows the same chain in each
// handshake and the signatures in it are most of what a verification costs. Nothing else is remembered: identity,
// the issuers' domains, revocation, its freshness, policy and staples are judged in each handshake.
//
// A hit is what findPaths would say now. It depends on the octets of the chain, on the usage, on the
// roots, and on which of all these certificates are valid. The first two are the key. The memo is emptied
// when the roots change, and to be sure when policy or revocation do. An entry counts from the last moment to
// the next at which any of those certificates begins or ceases to be valid.
//
// It is safe for concurrent use. It keeps the parsed certificates alive, so that a client of crypto/tls, which
// looks for them too, does not parse its server's again. A nil memo remembers nothing.
type pathMemo struct {
	mu    sync.Mutex
	about Snapshot // what the entries were found with
	young map[pathKey]pathEntry
	old   map[pathKey]pathEntry // goes when young is full; what is used moves back to young
}

type pathKey [sha256.Size]byte

type pathEntry struct {
	paths       [][]*x509.Certificate
	from, until time.Time // both included
}

// find is findPaths, or what it said before.
func (m *pathMemo) find(chain []*x509.Certificate, snap *Snapshot, usage x509.ExtKeyUsage, now time.Time) ([][]*x509.Certificate, *Refusal) {
	if m == nil || snap.Bundle == nil {
		return findPaths(chain, snap.Bundle, usage, now)
	}
	if refusal := checkPresented(chain, now); refusal != nil {
		return nil, refusal
	}
	key := pathKeyOf(chain, usage)
	if paths := m.load(key, snap, now); paths != nil {
		return paths, nil
	}
	paths, refusal := findPaths(chain, snap.Bundle, usage, now)
	if refusal == nil {
		from, until := steady(now, chain, snap.Bundle.roots)
		m.store(key, snap, pathEntry{paths: paths, from: from, until: until})
	}
	return paths, refusal
}

// pathKeyOf is the digest of a chain and of what it is to be good for.
func pathKeyOf(chain []*x509.Certificate, usage x509.ExtKeyUsage) (key pathKey) {
	h := sha256.New()
	var number [8]byte
	write := func(n int) {
		binary.BigEndian.PutUint64(number[:], uint64(n)) // #nosec G115 -- only its octets matter
		h.Write(number[:])
	}
	write(int(usage))
	for _, cert := range chain {
		write(len(cert.Raw)) // so that one certificate's end is not taken for the next one's beginning
		h.Write(cert.Raw)
	}
	h.Sum(key[:0])
	return key
}

// steady returns the first and the last moment around now between which each of these certificates is
// either valid all the time or never.
func steady(now time.Time, lists ...[]*x509.Certificate) (from, until time.Time) {
	until = time.Unix(1<<60, 0) // later than any certificate
	for _, list := range lists {
		for _, cert := range list {
			for _, change := range []time.Time{cert.NotBefore, cert.NotAfter.Add(1)} { // from each on it is another
				if change.After(now) {
					until = earlier(until, change.Add(-1))
				} else if change.After(from) {
					from = change
				}
			}
		}
	}
	return from, until
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// load returns what is remembered of key, as far as it counts for snap and now.
func (m *pathMemo) load(key pathKey, snap *Snapshot, now time.Time) [][]*x509.Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turnTo(snap)
	entry, known := m.young[key]
	if !known {
		if entry, known = m.old[key]; known {
			delete(m.old, key)
			m.put(key, entry)
		}
	}
	if !known || now.Before(entry.from) || now.After(entry.until) {
		return nil
	}
	return clonePaths(entry.paths)
}

// store remembers entry, unless the memo has turned to something else since it was found.
func (m *pathMemo) store(key pathKey, snap *Snapshot, entry pathEntry) {
	entry.paths = clonePaths(entry.paths)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isAbout(snap) {
		m.put(key, entry)
	}
}

// clonePaths keeps what is remembered apart from what a Peer hands out.
func clonePaths(paths [][]*x509.Certificate) [][]*x509.Certificate {
	cloned := make([][]*x509.Certificate, len(paths))
	for i, path := range paths {
		cloned[i] = slices.Clone(path)
	}
	return cloned
}

func (m *pathMemo) put(key pathKey, entry pathEntry) {
	if _, known := m.young[key]; !known && len(m.young) >= maxPathMemo/2 {
		m.young, m.old = nil, m.young
	}
	if m.young == nil {
		m.young = make(map[pathKey]pathEntry)
	}
	m.young[key] = entry
}

// turnTo empties the memo unless its entries were found with what snap says.
func (m *pathMemo) turnTo(snap *Snapshot) {
	if !m.isAbout(snap) {
		m.young, m.old = nil, nil
	}
	m.about = Snapshot{Bundle: snap.Bundle, Policy: snap.Policy, Revocation: snap.Revocation}
}

func (m *pathMemo) isAbout(snap *Snapshot) bool {
	return m.about.Bundle.equal(snap.Bundle) && m.about.Policy.equal(snap.Policy) && m.about.Revocation.equal(snap.Revocation)
}

// equal tells whether both hold the same roots for the same trust domain.
func (b *Bundle) equal(other *Bundle) bool {
	if b == nil || other == nil || b == other {
		return b == other
	}
	return b.td == other.td && slices.EqualFunc(b.roots, other.roots, (*x509.Certificate).Equal)
}

// equal tells whether both allow the same callers the same service.
func (p *Policy) equal(other *Policy) bool {
	if p == nil || other == nil || p == other {
		return p == other
	}
	if p.id != other.id || p.any != other.any || len(p.callers) != len(other.callers) {
		return false
	}
	for caller := range p.callers {
		if _, both := other.callers[caller]; !both {
			return false
		}
	}
	return true
}

// equal tells whether both know the same, at the same position of the feed. How fresh it is is
// another question: a heartbeat changes nothing else.
func (r *Revocation) equal(other *Revocation) bool {
	if r == nil || other == nil || r == other {
		return r == other
	}
	return r.view.TrustDomain() == other.view.TrustDomain() && r.view.Sequence() == other.view.Sequence() &&
		(slices.Equal(r.crls, other.crls) || other.madeOf(r.given))
}
