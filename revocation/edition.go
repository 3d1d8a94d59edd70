package revocation

import (
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

// draft collects one scope's next CRLs: their sizes first, then their entries.
type draft struct {
	old         [2]encoded // full, delta
	size, count [2]int     // of what comes to them
	builders    [2]*crl.Builder
}

const (
	inFull  = 0
	inDelta = 1
)

// entriesOf calls add for each list that mentions r.
func (e edition) entriesOf(r *record, add func(list int, entry crl.Entry)) {
	entry := r.crlEntry()
	if e.rules.listed(r) {
		add(inFull, entry)
	}
	switch e.rules.change(r) {
	case added:
		add(inDelta, entry)
	case removed:
		entry.Reason = certs.RemoveFromCRL
		add(inDelta, entry)
	}
}

// publish makes new CRLs of the scopes that have records in v from position from on,
// or of all. With all, nothing of the CRLs before is used; without, no record from
// there on may take the place of an earlier one.
func (p *partition) publish(e edition, v view, from int, all bool) error {
	overtaken := v.overtaken()
	drafts := make([]*draft, len(p.scopes))
	if all {
		for n := range drafts {
			drafts[n] = &draft{}
		}
	}
	for position := from; position < v.count; position++ {
		if overtaken.has(position) {
			continue
		}
		r := v.at(position)
		n := p.of(r)
		if drafts[n] == nil {
			drafts[n] = &draft{old: [2]encoded{p.scopes[n].fullEntries, p.scopes[n].deltaEntries}}
		}
		d := drafts[n]
		e.entriesOf(r, func(list int, entry crl.Entry) {
			d.size[list] += crl.EntrySize(entry)
			d.count[list]++
		})
	}
	for n, d := range drafts {
		if d != nil {
			if err := d.begin(e, p.scopes[n]); err != nil {
				return err
			}
		}
	}
	for position := from; position < v.count; position++ {
		if overtaken.has(position) {
			continue
		}
		r := v.at(position)
		builders := &drafts[p.of(r)].builders
		e.entriesOf(r, func(list int, entry crl.Entry) { builders[list].Add(entry) })
	}
	for n, d := range drafts {
		if d != nil {
			if err := d.end(e, p.scopes[n]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *draft) begin(e edition, s *scope) error {
	certificate := e.signer.Certificate()
	template := crl.Template{
		Issuer: certificate.RawSubject, AuthorityKeyID: certificate.SubjectKeyId,
		SignatureAlgorithm: e.signer.SignatureAlgorithm(),
		Number:             e.number, ThisUpdate: e.thisUpdate, NextUpdate: e.nextUpdate,
		DistributionPoint: s.point,
	}
	full, delta := template, template
	full.Freshest = s.freshest
	delta.Delta, delta.Base = true, e.rules.base
	for list, t := range [...]crl.Template{full, delta} {
		builder, err := crl.NewBuilder(t, len(d.old[list].der)+d.size[list])
		if err != nil {
			return fmt.Errorf("encode CRL %d: %w", e.number, err)
		}
		builder.AddEncoded(d.old[list].der)
		d.builders[list] = builder
	}
	return nil
}

// end signs both CRLs and only then shows them: the full one never stands beside a delta
// CRL that is older than itself for longer than two pointers take to write.
func (d *draft) end(e edition, s *scope) error {
	var documents [2]*document
	var entries [2]encoded
	for list, builder := range d.builders {
		signed, err := builder.Sign(e.signer.SignCRL)
		if err != nil {
			return fmt.Errorf("CRL %d of issuer %s: %w", e.number, e.signer.ID(), err)
		}
		entries[list] = encoded{der: signed.Encoded, count: d.old[list].count + d.count[list]}
		documents[list] = &document{
			der: signed.DER, issuer: e.signer.ID(), number: e.number,
			thisUpdate: e.thisUpdate, nextUpdate: e.nextUpdate, times: e.times,
			etag: etagOf(e.number, signed.DER), entries: entries[list].count,
		}
	}
	s.fullEntries, s.deltaEntries = entries[inFull], entries[inDelta]
	s.full.newest.Store(documents[inFull])
	s.delta.newest.Store(documents[inDelta])
	return nil
}
