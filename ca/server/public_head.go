package server

import (
	"bytes"
	"strconv"
)

// plainRequest is an OCSP request over HTTP/1.1 whose head nobody can read in two ways. Its
// slices belong to what was read.
type plainRequest struct {
	post bool
	path []byte // of a GET, as it was sent, from the slash behind /ocsp on
	body []byte // of a POST
	size int    // octets of head and body
}

// verdict is what readPlain makes of what was read.
type verdict int

const (
	other   verdict = iota // no plain request: fasthttp's
	partial                // may be the beginning of one
	plain
)

const (
	getOCSP  = "GET /ocsp"  // and a slash
	postOCSP = "POST /ocsp" // and perhaps a slash
	inHTTP11 = " HTTP/1.1"
	// maxPlainHead is more than a head has that brings a request of 1 KiB in its path.
	maxPlainHead = 4 << 10
)

// readPlain reads the request that in begins with. Every octet of a plain request's head is printable
// ASCII, its lines end with CRLF, and its fields are known here: those that could change
// where a message ends or what answers it are not among them.
func readPlain(in []byte) (plainRequest, verdict) {
	end := bytes.Index(in[:min(len(in), maxPlainHead)], []byte("\r\n\r\n"))
	if end < 0 {
		if len(in) < maxPlainHead && (begins(in, getOCSP) || begins(in, postOCSP)) {
			return plainRequest{}, partial
		}
		return plainRequest{}, other
	}
	line, fields, _ := bytes.Cut(in[:end], []byte("\r\n"))
	r, ok := readPlainLine(line)
	if !ok {
		return plainRequest{}, other
	}
	length, ok := readPlainFields(fields, r.post)
	if !ok {
		return plainRequest{}, other
	}
	head := end + len("\r\n\r\n")
	r.size = head + length
	if len(in) < r.size {
		return plainRequest{}, partial
	}
	r.body = in[head:r.size]
	return r, plain
}

// begins reports whether in begins with prefix, or is a beginning of it.
func begins(in []byte, prefix string) bool {
	return string(in[:min(len(in), len(prefix))]) == prefix[:min(len(in), len(prefix))]
}

func readPlainLine(line []byte) (plainRequest, bool) {
	line, ok := bytes.CutSuffix(line, []byte(inHTTP11))
	if !ok {
		return plainRequest{}, false
	}
	if rest, ok := bytes.CutPrefix(line, []byte(postOCSP)); ok {
		return plainRequest{post: true}, len(rest) == 0 || string(rest) == "/"
	}
	path, ok := bytes.CutPrefix(line, []byte(getOCSP))
	ok = ok && len(path) > 0 && path[0] == '/' && bytes.IndexByte(path, '?') < 0 // what else is wrong shows when it is decoded
	return plainRequest{path: path}, ok
}

// readPlainFields returns the length of the body, and whether the fields are those of a plain request.
func readPlainFields(fields []byte, post bool) (length int, ok bool) {
	var hosts, types, lengths int
	for len(fields) > 0 {
		var line []byte
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, found := bytes.Cut(line, []byte{':'})
		if !found || !isPrintable(line) {
			return 0, false
		}
		value = bytes.Trim(value, " ")
		switch field := lowered(name); string(field[:min(len(name), len(field))]) {
		case "host":
			hosts++
			if !isPlainHost(value) {
				return 0, false
			}
		case "content-type":
			types++
			ok = string(value) == "application/ocsp-request"
		case "content-length":
			lengths++
			length, found = plainLength(value)
			if !found {
				return 0, false
			}
		case "connection":
			if string(value) != "keep-alive" && string(value) != "Keep-Alive" {
				return 0, false
			}
		case "user-agent", "accept", "accept-encoding", "accept-language", "cache-control", "pragma", "date", "via", "forwarded", "x-forwarded-for":
		default:
			return 0, false
		}
	}
	if post {
		return length, ok && hosts == 1 && types == 1 && lengths == 1
	}
	return 0, hosts == 1 && types == 0 && lengths == 0
}

// lowered returns the name of a field in lower case, and nothing that is a name here if it is too long.
func lowered(name []byte) (field [16]byte) {
	if len(name) > len(field) {
		return field
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		field[i] = c
	}
	return field
}

// isPlainHost reports whether value is a name or an IPv4 address, with a port or without.
func isPlainHost(value []byte) bool {
	host, port, found := bytes.Cut(value, []byte{':'})
	for _, c := range host {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && c != '.' && c != '-' {
			return false
		}
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(host) > 0 && found == (len(port) > 0)
}

func isPrintable(line []byte) bool {
	for _, c := range line {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// plainLength reads the length of a small body.
func plainLength(value []byte) (int, bool) {
	if len(value) == 0 || len(value) > len("1024") || value[0] < '0' || value[0] > '9' {
		return 0, false
	}
	length, err := strconv.Atoi(string(value))
	return length, err == nil && length <= smallBody
}
