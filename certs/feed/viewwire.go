package feed

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handfast/handfast/certs/internal/der"
)

// A view in DER: SEQUENCE { version, domain, sequence, setAt, signedAt, nextUpdate, based, versions, issuers,
// items SEQUENCE OF SEQUENCE { inSet BOOLEAN, sequence, kind, issuer, serial, reason, at, notAfter },
// set OCTET STRING }.
const (
	viewVersion = 1
	maxViewSize = maxSetSize + 4<<20
)

// MarshalBinary returns what ParseView reads. It is not signed: it goes into the holder's own
// state and over its local socket.
func (v *View) MarshalBinary() ([]byte, error) {
	if v == nil {
		return nil, errors.New("encode view: there is none")
	}
	b := der.AppendUint(nil, viewVersion)
	b = der.Append(b, der.UTF8String, []byte(v.domain))
	b = der.AppendUint(b, v.sequence)
	b = der.AppendUint(b, v.setAt)
	for _, t := range []time.Time{v.signedAt, v.nextUpdate, v.based} {
		b = der.AppendUint(b, uint64(t.UnixMilli())) // #nosec G115 -- checked when it was applied
	}
	b = appendHeader(b, v.versions, v.issuers)
	var items []byte
	for _, i := range v.overlay.flat() {
		items = i.append(items)
	}
	b = der.Append(b, der.Sequence, items)
	set := v.set.Bytes() // large, so it is copied once only
	b = der.AppendHeader(b, der.OctetString, len(set))
	raw := der.AppendHeader(make([]byte, 0, len(b)+len(set)+16), der.Sequence, len(b)+len(set))
	return append(append(raw, b...), set...), nil
}

func (i *item) append(b []byte) []byte {
	one := der.Append(nil, der.Boolean, []byte{flag(i.inSet)})
	one = der.AppendUint(one, i.Sequence)
	one = der.AppendUint(one, uint64(i.Kind))
	return der.Append(b, der.Sequence, i.appendBody(one))
}

// ParseView reads what MarshalBinary returned, strictly and at most 64 MiB. It does not
// keep data. Whoever can write where data comes from decides what is revoked: see to that.
func ParseView(data []byte) (*View, error) {
	if len(data) > maxViewSize {
		return nil, fmt.Errorf("view has %d bytes; at most %d are allowed", len(data), maxViewSize)
	}
	v, err := parseView(data)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	return v, nil
}

func parseView(raw der.Value) (*View, error) {
	fields, _, err := raw.Read(der.Sequence)
	if err != nil || len(raw) > 0 {
		return nil, der.ErrMalformed
	}
	version, err := fields.ReadUint()
	if err != nil || version != viewVersion {
		return nil, errors.New("it is of a version that is not known here")
	}
	v := &View{}
	domain, _, err1 := fields.Read(der.UTF8String)
	v.domain = string(domain)
	var err2, err3, err4, err5, err6 error
	v.sequence, err2 = fields.ReadUint()
	v.setAt, err3 = fields.ReadUint()
	v.signedAt, err4 = readTime(&fields, time.UnixMilli)
	v.nextUpdate, err5 = readTime(&fields, time.UnixMilli)
	v.based, err6 = readTime(&fields, time.UnixMilli)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return nil, der.ErrMalformed
	}
	if v.versions, v.issuers, err = readHeader(&fields); err != nil {
		return nil, err
	}
	items, _, err1 := fields.Read(der.Sequence)
	set, _, err2 := fields.Read(der.OctetString)
	if err := errors.Join(err1, err2); err != nil || len(fields) > 0 {
		return nil, der.ErrMalformed
	}
	if v.set, err = ParseSet(set); err != nil {
		return nil, err
	}
	layer, err := readItems(items)
	if err != nil {
		return nil, err
	}
	if len(layer) > 0 {
		v.overlay = overlay{layer}
	}
	return v, v.check()
}

func readItems(list der.Value) (layer []item, err error) {
	for len(list) > 0 {
		fields, _, err := list.Read(der.Sequence)
		if err != nil || len(layer) == maxOverlay {
			return nil, der.ErrMalformed
		}
		var i item
		var err1, err2 error
		i.inSet, err1 = readFlag(&fields)
		i.Sequence, err2 = fields.ReadUint()
		kind, err3 := fields.ReadUint()
		if err := errors.Join(err1, err2, err3); err != nil || kind > uint64(excepted) {
			return nil, der.ErrMalformed
		}
		if err := i.readBody(fields); err != nil {
			return nil, err
		}
		i.Kind, i.hash = Kind(kind), Hash(i.Issuer, i.Serial)
		layer = append(layer, i)
	}
	return layer, nil
}

// check holds a view that was read against what every view keeps to.
func (v *View) check() error {
	header := Statement{TrustDomain: v.domain, To: v.sequence, SignedAt: v.signedAt, NextUpdate: v.nextUpdate, Versions: v.versions, Issuers: v.issuers}
	if err := header.check(); err != nil {
		return err
	}
	if v.setAt > v.sequence || v.based.After(v.signedAt) {
		return errors.New("its set is later than the view")
	}
	for _, layer := range v.overlay {
		if !slices.IsSortedFunc(layer, func(a, b item) int { return cmp.Compare(a.hash, b.hash) }) || len(merge(nil, layer)) != len(layer) {
			return errors.New("its changes are not in order")
		}
		if err := checkItems(layer); err != nil {
			return err
		}
	}
	return nil
}

func checkItems(layer []item) error {
	for _, i := range layer {
		if i.Kind == excepted {
			i.Kind = Released
		}
		if err := i.Entry.check(); err != nil {
			return err
		}
	}
	return nil
}
