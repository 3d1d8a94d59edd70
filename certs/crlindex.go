package certs

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"math/big"
)

// The object identifiers of CRL entry extensions, as their DER content.
const (
	oidReasonCode        = "\x55\x1d\x15"
	oidInvalidityDate    = "\x55\x1d\x18"
	oidCertificateIssuer = "\x55\x1d\x1d"
)

// serialIndex finds a serial among a CRL's entries in constant time. It is an open
// addressing table of offsets into the entries' own DER: no copies, no pointers for the
// garbage collector to follow.
type serialIndex struct {
	entries der
	slots   []uint32 // offset of an entry plus one; 0 is free; the length is a power of two
	seed    maphash.Seed
}

// indexEntries checks every entry of revokedCertificates and indexes it.
func indexEntries(entries der) (serialIndex, error) {
	count, err := countEntries(entries)
	if err != nil || count == 0 {
		return serialIndex{}, err
	}
	size := 1
	for size <= count+count/2 { // always more slots than entries, so that a walk ends
		size *= 2
	}
	// A seed of its own for each list: nobody can choose serials that collide.
	x := serialIndex{entries: entries, slots: make([]uint32, size), seed: maphash.MakeSeed()}
	for rest := entries; len(rest) > 0; {
		offset := len(entries) - len(rest)
		content, _, err := rest.Read(tagSequence)
		if err != nil {
			return serialIndex{}, err
		}
		serial, _, err := content.Read(tagInteger)
		if err != nil {
			return serialIndex{}, err
		}
		slot := x.slot(serial)
		if x.slots[slot] == 0 { // otherwise the list names it twice
			x.slots[slot] = uint32(offset) + 1 // #nosec G115 -- maxCRLSize bounds it
		}
	}
	return x, nil
}

// slot returns where serial (an INTEGER's content) stands, or the free slot where it would.
func (x *serialIndex) slot(serial []byte) int {
	mask := len(x.slots) - 1
	// At most two thirds of the slots are taken, so the walk ends.
	for i := int(maphash.Bytes(x.seed, serial)) & mask; ; i = (i + 1) & mask { // #nosec G115 -- masked
		if x.slots[i] == 0 {
			return i
		}
		entry := x.entry(x.slots[i])
		if at, _, err := entry.Read(tagInteger); err == nil && bytes.Equal(at, serial) {
			return i
		}
	}
}

// entry returns the content of the entry that a slot's value points to.
func (x *serialIndex) entry(value uint32) der {
	rest := x.entries[value-1:]
	content, _, err := rest.Read(tagSequence)
	if err != nil {
		return nil // cannot be: indexEntries read it
	}
	return content
}

func (x *serialIndex) find(serial *big.Int) (revokedEntry, bool) {
	if len(x.slots) == 0 || serial == nil || serial.Sign() <= 0 {
		return revokedEntry{}, false
	}
	content := serial.Bytes()
	if content[0]&0x80 != 0 {
		content = append([]byte{0}, content...)
	}
	value := x.slots[x.slot(content)]
	if value == 0 {
		return revokedEntry{}, false
	}
	entry := x.entry(value)
	var found revokedEntry
	_, _, _, _ = entry.Next() // the serial
	found.at, _ = readTime(&entry)
	if reason, err := checkEntryExtensions(entry); err == nil {
		found.reason = reason
	}
	return found, true
}

// countEntries checks every entry and counts them, without allocating.
func countEntries(entries der) (int, error) {
	count := 0
	for len(entries) > 0 {
		content, _, err := entries.Read(tagSequence)
		if err == nil {
			err = checkEntry(content)
		}
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", count+1, err)
		}
		count++
	}
	return count, nil
}

func checkEntry(entry der) error {
	serial, _, err := entry.Read(tagInteger)
	if err != nil {
		return err
	}
	if err := checkSerialContent(serial); err != nil {
		return err
	}
	if tag, _, _, err := entry.Next(); err != nil || tag != tagUTCTime && tag != tagGeneralizedTime {
		return errDER
	}
	reason, err := checkEntryExtensions(entry)
	if err == nil && reason == RemoveFromCRL {
		err = errors.New("removeFromCRL stands in delta CRLs only")
	}
	return err
}

// checkSerialContent takes a positive INTEGER in its shortest form, at most MaxSerialOctets long.
func checkSerialContent(serial []byte) error {
	switch {
	case len(serial) == 0 || serial[0]&0x80 != 0:
		return errors.New("serial is not positive")
	case serial[0] != 0:
		if len(serial) > MaxSerialOctets {
			return errors.New("serial is too long")
		}
		return nil
	case len(serial) == 1:
		return errors.New("serial is zero")
	case serial[1]&0x80 == 0 || len(serial) > MaxSerialOctets+1:
		return errDER
	default:
		return nil
	}
}

// checkEntryExtensions reads crlEntryExtensions, which may be missing, and returns the
// reason. A critical one that is not understood makes the whole CRL unusable (RFC 5280, section 5.3).
func checkEntryExtensions(raw der) (Reason, error) {
	if len(raw) == 0 {
		return Unspecified, nil
	}
	extensions, _, err := raw.Read(tagSequence)
	if err != nil || len(raw) > 0 {
		return 0, errDER
	}
	reason := Unspecified
	for len(extensions) > 0 {
		extension, _, err := extensions.Read(tagSequence)
		if err != nil {
			return 0, err
		}
		oid, critical, value, err := readExtension(extension)
		if err != nil {
			return 0, err
		}
		switch string(oid) {
		case oidReasonCode:
			if len(value) != 3 || value[0] != 0x0a || value[1] != 1 {
				return 0, errDER
			}
			reason = Reason(value[2])
		case oidInvalidityDate:
		case oidCertificateIssuer:
			return 0, errors.New("names a certificate issuer: the CRL is indirect; a full one is needed")
		default:
			if critical {
				return 0, errors.New("has a critical extension that is not understood here")
			}
		}
	}
	return reason, nil
}

// readExtension reads the content of an Extension.
func readExtension(raw der) (oid []byte, critical bool, value []byte, err error) {
	oid, _, err = raw.Read(0x06)
	if err != nil {
		return nil, false, nil, err
	}
	if raw.Peek() == tagBoolean {
		flag, _, err := raw.Read(tagBoolean)
		if err != nil || len(flag) != 1 || flag[0] != 0xff {
			return nil, false, nil, errDER
		}
		critical = true
	}
	value, _, err = raw.Read(0x04)
	if err != nil || len(raw) > 0 {
		return nil, false, nil, errDER
	}
	return oid, critical, value, nil
}
