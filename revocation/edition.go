package revocation

import (
	"bytes"
	"fmt"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation/crl"
)

// edition is what the CRLs of one publication have in common.
type edition struct {
	signer     CRLSigner
	number     uint64
	thisUpdate time.Time
	nextUpdate time.Time
	times      *httpTimes
	rules      rules
}

// The CRLs of a scope.
const (
	inFull  = 0
	inDelta = 1
)

// entry returns what a CRL says of r, if it mentions it.
func (e edition) entry(list int, r *record) (crl.Entry, bool) {
	entry := r.crlEntry()
	if list == inFull {
		return entry, e.rules.listed(r)
	}
	change := e.rules.change(r)
	if change == removed {
		entry.Reason = certs.RemoveFromCRL
	}
	return entry, change != unchanged
}

// publish makes new CRLs of the scopes that have records in v which their newest CRLs
// tell nothing of, or of all scopes if it is a renewal. With a
// time it is ahead of the others': then scopes that were published lately are left out.
// A scope that has this edition already is not published again: two CRLs never share a number. It reports
// whether all that v holds is told now.
func (p *partition) publish(e edition, v view, ahead time.Time) (told bool, err error) {
	told = true
	all := !p.suits(v)
	start := p.end
	if all {
		start = 0
	}
	overtaken := v.overtaken()
	touched := p.group(v, overtaken, start)
	for n, s := range p.scopes {
		c := encoder{edition: e, view: v, overtaken: overtaken, positions: touched[n]}
		if !all && len(from(c.positions, s.end)) == 0 {
			continue
		}
		if s.number == e.number {
			if s.generation != v.generation { // the same entries, at other positions
				s.adopt(s.encode(c), e, v)
			}
			continue
		}
		if !ahead.IsZero() && s.lately(ahead) {
			told = false
			continue
		}
		if err := s.publish(e, v, s.encode(c)); err != nil {
			return false, err
		}
		s.publishedAt = ahead
	}
	if ahead.IsZero() {
		p.settle(v)
	}
	return told, nil
}

// publishShared is publish for the partition of one scope, where the entries of another
// partition say the same.
func (p *partition) publishShared(e edition, v view, lists [2]blocks) error {
	s := p.scopes[0]
	if s.number == e.number || p.suits(v) && s.end == v.count {
		s.adopt(lists, e, v)
	} else if err := s.publish(e, v, lists); err != nil {
		return err
	}
	p.settle(v)
	return nil
}

// group returns the positions of each scope's records, from start on.
func (p *partition) group(v view, overtaken bits, start int) [][]uint32 {
	groups := make([][]uint32, len(p.scopes))
	if len(groups) == 1 {
		groups[0] = make([]uint32, 0, v.count-start)
	}
	for position := start; position < v.count; position++ {
		if !overtaken.has(position) {
			n := p.of(v.at(position))
			groups[n] = append(groups[n], uint32(position))
		}
	}
	return groups
}

// encode returns the entries of both CRLs, which share with the newest ones what these have.
func (s *scope) encode(c encoder) (lists [2]blocks) {
	old, now := s.lists, c.edition.rules
	if s.generation != c.view.generation {
		old = [2]blocks{}
	}
	if s.rules != now {
		old[inDelta] = nil
	}
	if now.listedFrom < s.rules.listedFrom { // some that were dropped are back
		old[inFull] = nil
	}
	for c.list = range lists {
		end := s.end
		if old[c.list] == nil { // every record is news, or what it told had no entries
			end = 0
		}
		lists[c.list] = c.next(old[c.list], end)
	}
	return lists
}

// adopt keeps what the newest CRLs tell.
func (s *scope) adopt(lists [2]blocks, e edition, v view) {
	s.lists, s.end, s.rules, s.generation = lists, v.count, e.rules, v.generation
}

// publish signs both CRLs and only then shows them: the full one never stands beside a delta
// CRL that is older than itself for longer than two pointers take to write.
func (s *scope) publish(e edition, v view, lists [2]blocks) error {
	var documents [2]*document
	for list, template := range s.templates(e) {
		pieces, err := template.Sign(lists[list].pieces(), e.signer.SignCRL)
		if err != nil {
			return fmt.Errorf("CRL %d of issuer %s: %w", e.number, e.signer.ID(), err)
		}
		documents[list] = newDocument(e, pieces, lists[list].count())
	}
	s.adopt(lists, e, v)
	s.number = e.number
	s.full.newest.Store(documents[inFull])
	s.delta.newest.Store(documents[inDelta])
	return nil
}

func (s *scope) templates(e edition) [2]crl.Template {
	certificate := e.signer.Certificate()
	full := crl.Template{
		Issuer: certificate.RawSubject, AuthorityKeyID: certificate.SubjectKeyId,
		SignatureAlgorithm: e.signer.SignatureAlgorithm(),
		Number:             e.number, ThisUpdate: e.thisUpdate, NextUpdate: e.nextUpdate,
		DistributionPoint: s.point,
	}
	delta := full
	full.Freshest = s.freshest
	delta.Delta, delta.Base = true, e.rules.base
	return [2]crl.Template{inFull: full, inDelta: delta}
}

// joined is up to which size a CRL is kept in one piece. Longer ones share theirs: to copy a shard
// of some ten thousand entries took longer than to hash it.
const joined = 64 << 10

func newDocument(e edition, pieces [][]byte, entries int) *document {
	d := &document{
		pieces: pieces, issuer: e.signer.ID(), number: e.number,
		thisUpdate: e.thisUpdate, nextUpdate: e.nextUpdate, times: e.times,
		etag: etagOf(e.number, pieces[len(pieces)-1]), entries: entries,
	}
	for _, piece := range pieces {
		d.size += len(piece)
	}
	if d.size <= joined {
		d.pieces = [][]byte{bytes.Join(pieces, nil)}
	}
	return d
}
