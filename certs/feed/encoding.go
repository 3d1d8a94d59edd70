package feed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/handfast/handfast/certs/internal/der"
)

// The content of a statement, in DER:
//
//	Content ::= SEQUENCE {
//	  version     INTEGER (1),
//	  signer      OCTET STRING (SIZE (32)),     -- SHA-256 of the signer's certificate
//	  trustDomain UTF8String,
//	  from, to    INTEGER,
//	  signedAt    INTEGER,                      -- milliseconds since 1970
//	  nextUpdate  INTEGER,
//	  versions    SEQUENCE OF SEQUENCE { name UTF8String, value UTF8String },
//	  issuers     SEQUENCE OF OCTET STRING,     -- subject key identifiers
//	  entries     SEQUENCE OF SEQUENCE { sequence INTEGER, kind INTEGER, critical BOOLEAN, body OCTET STRING },
//	  snapshot    [0] IMPLICIT OCTET STRING OPTIONAL }
//
// The body of the kinds known here is
//
//	SEQUENCE { issuer OCTET STRING, serial OCTET STRING, reason INTEGER, at INTEGER, notAfter INTEGER } -- seconds
const (
	contentVersion = 1
	tagSnapshot    = 0x80
)

// critical tells which kinds a holder that does not know them may not pass over: those that
// refuse somebody.
func (k Kind) critical() bool { return k == Revoked || k == Held }

func (s *Statement) encode(signer [sha256.Size]byte) ([]byte, error) {
	var b []byte
	b = der.AppendUint(b, contentVersion)
	b = der.Append(b, der.OctetString, signer[:])
	b = der.Append(b, der.UTF8String, []byte(s.TrustDomain))
	b = der.AppendUint(b, s.From)
	b = der.AppendUint(b, s.To)
	for _, t := range []time.Time{s.SignedAt, s.NextUpdate} {
		if t.UnixMilli() < 0 || t.Year() > 9999 {
			return nil, errors.New("its date is before 1970 or after 9999")
		}
		b = der.AppendUint(b, uint64(t.UnixMilli())) // #nosec G115 -- not negative
	}
	b = appendHeader(b, s.Versions, s.Issuers)
	var entries []byte
	for i := range s.Entries {
		entries = s.Entries[i].append(entries)
	}
	b = der.Append(b, der.Sequence, entries)
	if s.Snapshot == nil {
		return der.Append(nil, der.Sequence, b), nil
	}
	set := s.Snapshot.Bytes() // large, so it is copied once only
	b = der.AppendHeader(b, tagSnapshot, len(set))
	content := der.AppendHeader(make([]byte, 0, len(b)+len(set)+16), der.Sequence, len(b)+len(set))
	return append(append(content, b...), set...), nil
}

// appendHeader appends versions and issuers, which are known to be well-formed.
func appendHeader(b []byte, versions []Version, issuers []string) []byte {
	var all []byte
	for _, version := range versions {
		name := der.Append(nil, der.UTF8String, []byte(version.Name))
		all = der.Append(all, der.Sequence, name, der.Append(nil, der.UTF8String, []byte(version.Value)))
	}
	b = der.Append(b, der.Sequence, all)
	all = nil
	for _, issuer := range issuers {
		id, _ := hex.DecodeString(issuer) //nolint:errcheck // checked by keyID before
		all = der.Append(all, der.OctetString, id)
	}
	return der.Append(b, der.Sequence, all)
}

func (e *Entry) append(b []byte) []byte {
	entry := der.AppendUint(nil, e.Sequence)
	entry = der.AppendUint(entry, uint64(e.Kind))
	entry = der.Append(entry, der.Boolean, []byte{flag(e.Kind.critical())})
	entry = der.Append(entry, der.OctetString, der.Append(nil, der.Sequence, e.appendBody(nil)))
	return der.Append(b, der.Sequence, entry)
}

// appendBody appends what readBody reads.
func (e *Entry) appendBody(b []byte) []byte {
	issuer, _ := hex.DecodeString(e.Issuer) //nolint:errcheck // checked by keyID before
	b = der.Append(b, der.OctetString, issuer)
	b = der.Append(b, der.OctetString, e.Serial)
	b = der.AppendUint(b, uint64(e.Reason))
	for _, t := range []time.Time{e.At, e.NotAfter} {
		b = der.AppendUint(b, uint64(max(t.Unix(), 0))) // #nosec G115 -- an exception in a view has no times
	}
	return b
}

// flag is a BOOLEAN's content.
func flag(set bool) byte {
	if set {
		return 0xff
	}
	return 0
}

// signerOf reads no more of a content than who signed it.
func signerOf(content der.Value) (signer [sha256.Size]byte, err error) {
	fields, _, err := content.Read(der.Sequence)
	if err != nil {
		return signer, err
	}
	version, err1 := fields.ReadUint()
	name, _, err2 := fields.Read(der.OctetString)
	if err := errors.Join(err1, err2); err != nil || len(name) != len(signer) {
		return signer, der.ErrMalformed
	}
	if version != contentVersion {
		return signer, fmt.Errorf("it is of version %d, which is not known here", version)
	}
	return [sha256.Size]byte(name), nil
}

// decode reads a content whose signature was checked.
func decode(content der.Value) (*Statement, error) {
	fields, _, err := content.Read(der.Sequence)
	if err != nil {
		return nil, err
	}
	s := &Statement{}
	_, err1 := fields.ReadUint()               // the version and
	_, _, err2 := fields.Read(der.OctetString) // the signer, which signerOf has read
	domain, _, err3 := fields.Read(der.UTF8String)
	s.TrustDomain = string(domain)
	var err4, err5, err6, err7 error
	s.From, err4 = fields.ReadUint()
	s.To, err5 = fields.ReadUint()
	s.SignedAt, err6 = readTime(&fields, time.UnixMilli)
	s.NextUpdate, err7 = readTime(&fields, time.UnixMilli)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return nil, der.ErrMalformed
	}
	if s.Versions, s.Issuers, err = readHeader(&fields); err != nil {
		return nil, err
	}
	entries, _, err := fields.Read(der.Sequence)
	if err != nil {
		return nil, err
	}
	if s.Entries, err = decodeEntries(entries); err != nil {
		return nil, err
	}
	if fields.Peek() == tagSnapshot {
		set, _, err := fields.Read(tagSnapshot)
		if err != nil {
			return nil, err
		}
		if s.Snapshot, err = ParseSet(set); err != nil {
			return nil, err
		}
	}
	if len(fields) > 0 {
		return nil, der.ErrMalformed
	}
	return s, s.check()
}

func readHeader(fields *der.Value) (versions []Version, issuers []string, err error) {
	list, _, err := fields.Read(der.Sequence)
	for err == nil && len(list) > 0 {
		var version, name, value der.Value
		version, _, err = list.Read(der.Sequence)
		name, _, err1 := version.Read(der.UTF8String)
		value, _, err2 := version.Read(der.UTF8String)
		if err != nil || err1 != nil || err2 != nil || len(version) > 0 || len(versions) == maxVersions {
			return nil, nil, der.ErrMalformed
		}
		versions = append(versions, Version{string(name), string(value)})
	}
	if err != nil {
		return nil, nil, err
	}
	list, _, err = fields.Read(der.Sequence)
	for err == nil && len(list) > 0 {
		var id der.Value
		if id, _, err = list.Read(der.OctetString); err != nil || len(issuers) == maxIssuers {
			return nil, nil, der.ErrMalformed
		}
		issuers = append(issuers, hex.EncodeToString(id))
	}
	return versions, issuers, err
}

// decodeEntries reads the entries of the kinds known here and passes over others, unless
// they are critical. Of all of them the sequence rises.
func decodeEntries(list der.Value) ([]Entry, error) {
	var entries []Entry
	for last := uint64(0); len(list) > 0; {
		fields, _, err := list.Read(der.Sequence)
		if err != nil {
			return nil, err
		}
		sequence, err1 := fields.ReadUint()
		kind, err2 := fields.ReadUint()
		critical, err3 := readFlag(&fields)
		body, _, err4 := fields.Read(der.OctetString)
		if err := errors.Join(err1, err2, err3, err4); err != nil || len(fields) > 0 || sequence <= last {
			return nil, der.ErrMalformed
		}
		last = sequence
		if kind != uint64(Revoked) && kind != uint64(Held) && kind != uint64(Released) {
			if critical {
				return nil, fmt.Errorf("it holds a critical entry of kind %d, which is not known here: update this program", kind)
			}
			continue
		}
		entry := Entry{Sequence: sequence, Kind: Kind(kind)}
		if critical != entry.Kind.critical() {
			return nil, der.ErrMalformed
		}
		if err := entry.decode(body); err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func (e *Entry) decode(raw der.Value) error {
	fields, _, err := raw.Read(der.Sequence)
	if err != nil || len(raw) > 0 {
		return der.ErrMalformed
	}
	return e.readBody(fields)
}

// readBody reads what entries hold beside their sequence and kind.
func (e *Entry) readBody(fields der.Value) error {
	issuer, _, err1 := fields.Read(der.OctetString)
	serial, _, err2 := fields.Read(der.OctetString)
	reason, err3 := fields.ReadUint()
	at, err4 := readTime(&fields, seconds)
	notAfter, err5 := readTime(&fields, seconds)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil || len(fields) > 0 || reason > math.MaxUint8 || len(serial) > maxSerial || len(issuer) > maxKeyID {
		return der.ErrMalformed
	}
	e.Issuer, e.Serial, e.Reason = hex.EncodeToString(issuer), bytes.Clone(serial), uint8(reason)
	e.At, e.NotAfter = at, notAfter
	return nil
}

func readFlag(fields *der.Value) (bool, error) {
	content, _, err := fields.Read(der.Boolean)
	if err != nil || len(content) != 1 || content[0] != 0 && content[0] != 0xff {
		return false, der.ErrMalformed
	}
	return content[0] != 0, nil
}

func seconds(n int64) time.Time { return time.Unix(n, 0) }

// latest is 9999-12-31T23:59:59Z in seconds: the last time that a certificate can name.
const latest = 253402300799

func readTime(fields *der.Value, of func(int64) time.Time) (time.Time, error) {
	n, err := fields.ReadUint()
	if err != nil || n > latest*1000 {
		return time.Time{}, der.ErrMalformed
	}
	t := of(int64(n)).UTC()
	if t.Unix() > latest {
		return time.Time{}, der.ErrMalformed
	}
	return t, nil
}
