// Package httphead reads the heads of HTTP/1.1 messages that leave no room for doubt.
//
// A proxy and the server behind it must agree on where a message ends and what it says, or
// one of them can be made to take a part of one request for another. So the grammar here is
// narrower than RFC 9112's: what it accepts every careful reader understands alike, and what
// it does not accept (ErrUnusual) may still be sound, and is left to net/http to judge.
package httphead

import (
	"bytes"
	"errors"
)

// ErrIncomplete is returned for a head that may become a good one when more bytes come.
var ErrIncomplete = errors.New("httphead: the head has not ended yet")

// ErrUnusual is returned for a head that is outside of the narrow grammar: it may be valid or not.
var ErrUnusual = errors.New("httphead: the head is unusual")

// maxFields bounds the fields of one head.
const maxFields = 100

// maxLengthDigits of a Content-Length: it fits an int64 with room to spare.
const maxLengthDigits = 15

// Field is one field line. Its parts are slices of what was parsed.
type Field struct {
	Line  []byte // all of it, without CR LF
	Name  []byte // letters, digits and '-', as they were written
	Value []byte // without the white space around it
}

// Is reports whether the field has this name, which must be in lower case.
func (f Field) Is(lower string) bool { return equalFold(f.Name, lower) }

// Request is a request's head. Parsed again, it reuses its memory.
type Request struct {
	Method []byte // GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS
	Target []byte // in origin form, with nothing in it that needs to be cleaned
	Host   []byte
	Length int64   // of the body
	Fields []Field // all of them but Host, Connection and Content-Length
}

// Parse reads the head at the beginning of b and returns its length with the empty line. The
// request refers to b. Accepted are requests whose body has a known length or that have none, and
// that ask for nothing of the connection but to keep it: no Transfer-Encoding, Upgrade,
// Expect, Trailer and the like.
func (r *Request) Parse(b []byte) (int, error) {
	lines, size, err := split(b)
	if err != nil {
		return 0, err
	}
	first, lines := cut(lines)
	if err := r.parseLine(first); err != nil {
		return 0, err
	}
	r.Host, r.Length, r.Fields = nil, 0, r.Fields[:0]
	sawLength := false
	for len(lines) > 0 {
		var line []byte
		line, lines = cut(lines)
		field, ok := parseField(line, false)
		if !ok || len(r.Fields) == maxFields {
			return 0, ErrUnusual
		}
		switch {
		case field.Is("host"):
			if r.Host != nil || !all(field.Value, hostByte) || len(field.Value) == 0 {
				return 0, ErrUnusual
			}
			r.Host = field.Value
		case field.Is("content-length"):
			if r.Length, ok = parseLength(field.Value); !ok || sawLength {
				return 0, ErrUnusual
			}
			sawLength = true
		case field.Is("connection"):
			if !equalFold(field.Value, "keep-alive") {
				return 0, ErrUnusual
			}
		case aboutConnection(field) || field.Is("expect") || field.Is("http2-settings"):
			return 0, ErrUnusual
		default:
			r.Fields = append(r.Fields, field)
		}
	}
	if r.Host == nil {
		return 0, ErrUnusual
	}
	return size, nil
}

func (r *Request) parseLine(line []byte) error {
	method, rest, found := bytes.Cut(line, []byte(" "))
	target, version, found2 := bytes.Cut(rest, []byte(" "))
	if !found || !found2 || string(version) != "HTTP/1.1" || !plainTarget(target) {
		return ErrUnusual
	}
	switch string(method) {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		return ErrUnusual
	}
	r.Method, r.Target = method, target
	return nil
}

// Response is a final response's head. Parsed again, it reuses its memory.
type Response struct {
	Line   []byte // the status line, without CR LF
	Status int    // 200 to 599
	Length int64  // of the body; -1 if there is no Content-Length
	Close  bool   // the connection ends with this response
	Fields []Field
}

// Parse reads the head at the beginning of b and returns its length with the empty line. The
// response refers to b. Accepted are final responses without Transfer-Encoding, Trailer, Upgrade and
// the like; Fields are all but Connection.
func (r *Response) Parse(b []byte) (int, error) {
	lines, size, err := split(b)
	if err != nil {
		return 0, err
	}
	first, lines := cut(lines)
	if r.Status = parseStatus(first); r.Status == 0 {
		return 0, ErrUnusual
	}
	r.Line, r.Length, r.Close, r.Fields = first, -1, false, r.Fields[:0]
	for len(lines) > 0 {
		var line []byte
		line, lines = cut(lines)
		field, ok := parseField(line, true)
		if !ok || len(r.Fields) == maxFields {
			return 0, ErrUnusual
		}
		switch {
		case field.Is("connection"):
			r.Close = r.Close || equalFold(field.Value, "close")
			if !equalFold(field.Value, "keep-alive") && !equalFold(field.Value, "close") {
				return 0, ErrUnusual
			}
			continue
		case field.Is("content-length"):
			if r.Length != -1 {
				return 0, ErrUnusual
			}
			if r.Length, ok = parseLength(field.Value); !ok {
				return 0, ErrUnusual
			}
		case field.Is("keep-alive"):
			continue
		case aboutConnection(field):
			return 0, ErrUnusual
		}
		r.Fields = append(r.Fields, field)
	}
	return size, nil
}

// parseStatus returns a final status, or 0.
func parseStatus(line []byte) int {
	const version = "HTTP/1.1 "
	if len(line) < len(version)+3 || string(line[:len(version)]) != version || !all(line, textByte) {
		return 0
	}
	status := 0
	for _, c := range line[len(version) : len(version)+3] {
		if c < '0' || c > '9' {
			return 0
		}
		status = 10*status + int(c-'0')
	}
	if rest := line[len(version)+3:]; status < 200 || status > 599 || len(rest) > 0 && rest[0] != ' ' {
		return 0
	}
	return status
}

// split finds the end of the head. It returns its lines, each with its CR LF, and its length. Lines that
// end otherwise are unusual from their first moment: the end that is looked for may never come.
func split(b []byte) (lines []byte, size int, err error) {
	if end := bytes.Index(b, []byte("\r\n\r\n")); end >= 0 {
		return b[:end+2], end + 4, nil
	}
	for rest := b; ; {
		i := bytes.IndexByte(rest, '\n')
		switch {
		case i < 0:
			return nil, 0, ErrIncomplete
		case i == 0 || rest[i-1] != '\r':
			return nil, 0, ErrUnusual
		}
		rest = rest[i+1:]
	}
}

// cut takes the first line off, without its CR LF.
func cut(lines []byte) (first, rest []byte) {
	end := bytes.Index(lines, []byte("\r\n"))
	return lines[:end], lines[end+2:]
}

// parseField reads one field line. A lone CR or LF, a line folded into the one before and a space before
// the colon are in neither alphabet.
func parseField(line []byte, opaque bool) (Field, bool) {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 {
		return Field{}, false
	}
	f := Field{Line: line, Name: line[:colon], Value: bytes.Trim(line[colon+1:], " \t")}
	value := visibleByte
	if opaque {
		value = textByte
	}
	return f, all(f.Name, nameByte) && all(f.Value, value)
}

// aboutConnection reports whether a field is for this connection only (RFC 9110, section 7.6.1) or about
// how the message is framed.
func aboutConnection(f Field) bool {
	switch len(f.Name) {
	case 2:
		return f.Is("te")
	case 7:
		return f.Is("trailer") || f.Is("upgrade")
	case 10:
		return f.Is("keep-alive")
	case 16:
		return f.Is("proxy-connection")
	case 17:
		return f.Is("transfer-encoding")
	case 18:
		return f.Is("proxy-authenticate")
	case 19:
		return f.Is("proxy-authorization")
	default:
		return false
	}
}

func parseLength(value []byte) (int64, bool) {
	if len(value) == 0 || len(value) > maxLengthDigits || len(value) > 1 && value[0] == '0' {
		return 0, false
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}
