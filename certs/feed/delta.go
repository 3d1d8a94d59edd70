package feed

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handfast/handfast/certs/internal/der"
)

// A delta in DER: SEQUENCE { version, from SEQUENCE { domain, sequence, setAt, based, changes }, sequence, signedAt,
// nextUpdate, versions, issuers, items SEQUENCE OF ... as in a view }.
const (
	deltaVersion = 1
	maxDeltaSize = 4 << 20
)

// ErrBase is wrapped by Patch when a delta is to another view.
var ErrBase = errors.New("the delta is to another view")

// Delta encodes what v has beyond earlier, from which v came about by Apply, Except and Patch: some hundred bytes
// when only its freshness has changed. It is not signed, as MarshalBinary. It is nil when v has another set than
// earlier, or either is nil: then v has to be taken whole.
func (v *View) Delta(earlier *View) []byte {
	if v == nil || earlier == nil || v.set != earlier.set || v.setAt != earlier.setAt || v.domain != earlier.domain || v.sequence < earlier.sequence {
		return nil
	}
	var later []item
	for _, layer := range v.overlay {
		for _, i := range layer {
			if !i.isNewTo(earlier) {
				continue
			}
			later = append(later, i)
		}
	}
	b := der.AppendUint(nil, deltaVersion)
	b = der.Append(b, der.Sequence, earlier.base())
	b = der.AppendUint(b, v.sequence)
	b = der.AppendUint(b, uint64(v.signedAt.UnixMilli()))   // #nosec G115 -- checked when it was applied
	b = der.AppendUint(b, uint64(v.nextUpdate.UnixMilli())) // #nosec G115 -- likewise
	b = appendHeader(b, v.versions, v.issuers)
	var items []byte
	for _, i := range later {
		items = i.append(items)
	}
	raw := der.Append(nil, der.Sequence, der.Append(b, der.Sequence, items))
	if len(raw) > maxDeltaSize {
		return nil
	}
	return raw
}

// isNewTo tells whether earlier, with the same set, lacks i. An exception is made only of what nothing else is known about, so
// whatever earlier knows of its certificate is this exception or goes before it.
func (i *item) isNewTo(earlier *View) bool {
	if i.Kind == excepted {
		return earlier.overlay.find(i.hash, i.Issuer, i.Serial) == nil
	}
	return i.Sequence > earlier.sequence
}

// base tells v from other views, as far as its delta depends on it.
func (v *View) base() []byte {
	b := der.Append(nil, der.UTF8String, []byte(v.domain))
	b = der.AppendUint(b, v.sequence)
	b = der.AppendUint(b, v.setAt)
	b = der.AppendUint(b, uint64(v.based.UnixMilli())) // #nosec G115 -- checked when it was applied
	return der.AppendUint(b, uint64(v.set.Len()))      // #nosec G115 -- never negative
}

// Patch returns what Delta was called on, when v is what it was called with. It is strict and takes 4 MiB at most; it
// shares v's set and does not keep delta. It wraps ErrBase when delta is to another view. Whoever can write where delta
// comes from decides what is revoked: see to that.
func (v *View) Patch(delta []byte) (*View, error) {
	if v == nil {
		return nil, fmt.Errorf("delta: %w: there is none here", ErrBase)
	}
	if len(delta) > maxDeltaSize {
		return nil, fmt.Errorf("delta has %d bytes; at most %d are allowed", len(delta), maxDeltaSize)
	}
	next, err := v.patch(delta)
	if err != nil {
		return nil, fmt.Errorf("delta: %w", err)
	}
	return next, nil
}

func (v *View) patch(raw der.Value) (*View, error) {
	fields, _, err := raw.Read(der.Sequence)
	if err != nil || len(raw) > 0 {
		return nil, der.ErrMalformed
	}
	version, err := fields.ReadUint()
	if err != nil || version != deltaVersion {
		return nil, errors.New("it is of a version that is not known here")
	}
	base, _, err := fields.Read(der.Sequence)
	if err != nil {
		return nil, der.ErrMalformed
	}
	if !slices.Equal(base, v.base()) {
		return nil, ErrBase
	}
	next := *v
	var err1, err2, err3 error
	next.sequence, err1 = fields.ReadUint()
	next.signedAt, err2 = readTime(&fields, time.UnixMilli)
	next.nextUpdate, err3 = readTime(&fields, time.UnixMilli)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, der.ErrMalformed
	}
	if next.versions, next.issuers, err = readHeader(&fields); err != nil {
		return nil, err
	}
	list, _, err := fields.Read(der.Sequence)
	if err != nil || len(fields) > 0 {
		return nil, der.ErrMalformed
	}
	items, err := readItems(list)
	if err != nil {
		return nil, err
	}
	if err := v.mayBecome(&next, items); err != nil {
		return nil, err
	}
	next.overlay = v.overlay.put(items)
	if next.overlay.size() > maxOverlay {
		return nil, errors.New("it has too many changes")
	}
	return &next, nil
}

// mayBecome holds a delta's content against what every view keeps to.
func (v *View) mayBecome(next *View, items []item) error {
	header := Statement{TrustDomain: next.domain, To: next.sequence, SignedAt: next.signedAt, NextUpdate: next.nextUpdate, Versions: next.versions, Issuers: next.issuers}
	if err := header.check(); err != nil {
		return err
	}
	if next.sequence < v.sequence || next.signedAt.Before(v.signedAt) {
		return errors.New("it goes back")
	}
	for _, i := range items {
		if !i.isNewTo(v) || i.Kind != excepted && i.Sequence > next.sequence {
			return errors.New("a change in it is of another time")
		}
	}
	return checkItems(items)
}
