package ocsp

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"strings"
)

// DecodePath appends to dst the request of a GET (RFC 6960, appendix A.1): what follows the
// responder's URL in the request line, as it was sent. Clients escape +, / and = or not,
// in either case of hexadecimal digits, leave padding away, and begin with more than one slash
// when the URL ends with one. A proxy or mux must not have cleaned the path, because // is
// part of some requests. The alphabet of base64url is read as well.
// The query must be cut off already.
func DecodePath(dst, escaped []byte) ([]byte, error) {
	if len(escaped) > 3*base64.StdEncoding.EncodedLen(MaxRequest) {
		return nil, malformed("the path is too long")
	}
	// Most clients escape nothing: that is decoded in one go.
	if der, err := base64.StdEncoding.AppendDecode(dst, bytes.TrimLeft(escaped, "/")); err == nil {
		return der, nil
	}
	encoded, err := url.PathUnescape(string(escaped))
	if err != nil {
		return nil, malformed("the path is not URL-escaped")
	}
	encoded = strings.TrimLeft(encoded, "/") // base64 of a SEQUENCE begins with M
	encoded = strings.TrimRight(encoded, "=\r\n")
	if strings.ContainsAny(encoded, "-_") {
		encoded = strings.NewReplacer("-", "+", "_", "/").Replace(encoded)
	}
	der, err := base64.RawStdEncoding.AppendDecode(dst, []byte(encoded))
	if err != nil {
		return nil, malformed("the path is not base64")
	}
	return der, nil
}
