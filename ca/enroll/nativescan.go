package enroll

import (
	"strconv"
	"strings"
)

// scanNativeClaims reads what Mint writes: each field once, in the order of nativeClaims, no blank between them, and
// strings without anything that JSON escapes. Whatever is written otherwise is not refused here, only not read.
func scanNativeClaims(payload []byte) (c nativeClaims, ok bool) {
	s := claimScanner{rest: string(payload), ok: true}
	s.literal(`{"iss":`)
	c.Issuer = s.text()
	s.literal(`,"aud":`)
	c.Audience = s.text()
	s.literal(`,"sub":`)
	c.Subject = s.text()
	s.literal(`,"jti":`)
	c.ID = s.text()
	s.literal(`,"iat":`)
	c.IssuedAt = s.number()
	s.literal(`,"nbf":`)
	c.NotBefore = s.number()
	s.literal(`,"exp":`)
	c.Expiry = s.number()
	s.literal(`,"ca":`)
	c.CA = s.text()
	s.literal(`,"fpr":`)
	c.Fingerprint = s.text()
	s.literal("}")
	return c, s.ok && s.rest == ""
}

// claimScanner stops being ok at the first thing that is not as expected, and reads no further.
type claimScanner struct {
	rest string
	ok   bool
}

func (s *claimScanner) literal(want string) {
	rest, found := strings.CutPrefix(s.rest, want)
	s.rest, s.ok = rest, s.ok && found
}

// text reads a string of printable ASCII.
func (s *claimScanner) text() string {
	s.literal(`"`)
	for i := 0; s.ok && i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			content := s.rest[:i]
			s.rest = s.rest[i+1:]
			return content
		case c < ' ' || c > '~' || c == '\\':
			s.ok = false
		}
	}
	s.ok = false
	return ""
}

// number reads a positive integer as JSON writes it.
func (s *claimScanner) number() int64 {
	end := 0
	for end < len(s.rest) && s.rest[end] >= '0' && s.rest[end] <= '9' {
		end++
	}
	if end == 0 || s.rest[0] == '0' {
		s.ok = false
		return 0
	}
	n, err := strconv.ParseInt(s.rest[:end], 10, 64)
	s.rest, s.ok = s.rest[end:], s.ok && err == nil
	return n
}
