package api

import (
	"bytes"
	"encoding/base64"
)

// maxFlat is how many fields an object may have that is read without encoding/json.
const maxFlat = 8

// flatField is one field of a flat object: both are parts of the body, without their quotes.
type flatField struct{ key, value []byte }

// flatReader is a type that reads itself out of a flat object. It reports false for anything that it does not
// expect; DecodeStrict then asks encoding/json, which sets each of the object's fields again or says what is wrong.
type flatReader interface{ readFlat(fields []flatField) bool }

// flat appends data's fields to fields if data is beyond doubt what checkObject lets pass: one object of a few
// fields whose values are strings of printable ASCII without escapes, which is what a
// request for a certificate looks like. What is not flat is not refused, only read with more care.
func flat(data []byte, fields []flatField) ([]flatField, bool) {
	rest, ok := bytes.CutPrefix(data, []byte("{"))
	for ok && len(fields) < maxFlat {
		var f flatField
		if f.key, rest, ok = plain(rest); !ok || rest[0] != ':' || !lowerKey(string(f.key)) || repeated(fields, f.key) {
			return nil, false
		}
		f.value, rest, ok = plain(rest[1:])
		fields = append(fields, f)
		if !ok || rest[0] != ',' {
			return fields, ok && string(rest) == "}"
		}
		rest = rest[1:]
	}
	return nil, false
}

func repeated(fields []flatField, key []byte) bool {
	for _, f := range fields {
		if bytes.Equal(f.key, key) {
			return true
		}
	}
	return false
}

// plain cuts a string off data; something follows it.
func plain(data []byte) (content, rest []byte, ok bool) {
	if len(data) == 0 || data[0] != '"' {
		return nil, nil, false
	}
	for i, c := range data[1:] {
		switch {
		case c == '"':
			return data[1 : i+1], data[i+2:], len(data) > i+2
		case c < ' ' || c > '~' || c == '\\':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

func (r *EnrollRequest) readFlat(fields []flatField) bool {
	for _, f := range fields {
		switch string(f.key) {
		case "token":
			r.Token = string(f.value)
		case "csr":
			if !readBinary(&r.CSR, f.value) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func (r *RenewRequest) readFlat(fields []flatField) bool {
	for _, f := range fields {
		if string(f.key) != "csr" || !readBinary(&r.CSR, f.value) {
			return false
		}
	}
	return true
}

// readBinary reads a value as encoding/json does.
func readBinary(into *[]byte, value []byte) bool {
	octets := make([]byte, base64.StdEncoding.DecodedLen(len(value)))
	n, err := base64.StdEncoding.Decode(octets, value)
	*into = octets[:n]
	return err == nil
}
