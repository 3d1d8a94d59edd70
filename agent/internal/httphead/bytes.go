package httphead

// alphabet says which bytes may stand somewhere.
type alphabet [256]bool

var (
	nameByte    = alphabetOf("-", true)
	hostByte    = alphabetOf("-.:[]", true)
	pathByte    = alphabetOf("-._~!$&'()*+,=:@/", true)  // '%' is looked at by itself
	queryByte   = alphabetOf("-._~!$'()*+,:@/?&=", true) // and ';' is not everywhere the same as '&'
	visibleByte = between(' ', '~', '\t')
	textByte    = textAlphabet()
)

func alphabetOf(others string, alphanumeric bool) *alphabet {
	a := new(alphabet)
	for c := range a {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' && c < 0x80
		a[c] = alphanumeric && (letter || '0' <= c && c <= '9')
	}
	for _, c := range []byte(others) {
		a[c] = true
	}
	return a
}

func between(first, last byte, others ...byte) *alphabet {
	a := new(alphabet)
	for c := int(first); c <= int(last); c++ {
		a[c] = true
	}
	for _, c := range others {
		a[c] = true
	}
	return a
}

// textAlphabet is visibleByte and what RFC 9110 calls obs-text.
func textAlphabet() *alphabet {
	a := between(' ', '~', '\t')
	for c := 0x80; c <= 0xff; c++ {
		a[c] = true
	}
	return a
}

func all(b []byte, in *alphabet) bool {
	for _, c := range b {
		if !in[c] {
			return false
		}
	}
	return true
}

// plainTarget accepts an absolute path with a query, where each '%' begins an escape.
func plainTarget(target []byte) bool {
	if len(target) == 0 || target[0] != '/' || len(target) > 1 && target[1] == '/' {
		return false
	}
	allowed := pathByte
	for i := 0; i < len(target); i++ {
		switch c := target[i]; {
		case c == '?' && allowed == pathByte:
			allowed = queryByte
		case c == '%':
			if i+2 >= len(target) || !hexDigit(target[i+1]) || !hexDigit(target[i+2]) {
				return false
			}
		case !allowed[c]:
			return false
		}
	}
	return true
}

func hexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// equalFold compares with an ASCII string in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
