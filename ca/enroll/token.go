package enroll

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"go.step.sm/crypto/jose" // the same JOSE that the provisioners verify with, so that both read the same bytes alike
)

// maxPlatformLifetime bounds how long the ledger must remember that a token was used.
const maxPlatformLifetime = 24 * time.Hour

// compact is a token in JWS compact serialization (RFC 7515, section 7.1), split but
// neither verified nor interpreted.
type compact struct {
	header       string // still encoded
	signingInput string // header and payload as they were signed
	payload      []byte
	signature    []byte
}

// splitCompact is strict: three parts of unpadded base64url without a single other
// byte, so that one token has exactly one spelling.
func splitCompact(token string) (compact, error) {
	if strings.Count(token, ".") != 2 {
		return compact{}, invalid("it is not a JWT of three parts")
	}
	last := strings.LastIndexByte(token, '.')
	header, payload, _ := strings.Cut(token[:last], ".")
	if _, err := decodeSegment(header); err != nil {
		return compact{}, invalid("its header is not base64url")
	}
	decoded, err := decodeSegment(payload)
	if err != nil {
		return compact{}, invalid("its payload is not base64url")
	}
	signature, err := decodeSegment(token[last+1:])
	if err != nil || len(signature) == 0 {
		return compact{}, invalid("it has no signature in base64url")
	}
	return compact{header: header, signingInput: token[:last], payload: decoded, signature: signature}, nil
}

// decodeSegment refuses line breaks, which encoding/base64 skips, and stray last bits.
func decodeSegment(s string) ([]byte, error) {
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		return nil, base64.CorruptInputError(i)
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// platformToken is a token of a platform. Until the provider has verified it, its
// claims serve only to find that provider.
type platformToken struct {
	raw       string
	compact   compact
	parsed    *jose.JSONWebToken
	algorithm string
	keyID     string
	x5c       []string // certificates as in the header; nil without the header
	claims    jose.Claims
	all       map[string]any // every claim
}

// allowedAlgorithms are signatures with a public key. A MAC or "none" is never a
// platform's: with a public JWK as its key, anybody could make one.
var allowedAlgorithms = map[string]bool{
	jose.ES256: true, jose.ES384: true, jose.ES512: true, jose.EdDSA: true,
	jose.RS256: true, jose.RS384: true, jose.RS512: true,
	jose.PS256: true, jose.PS384: true, jose.PS512: true,
}

// allowedHeaders are the header parameters besides alg, kid and x5c that are
// understood or harmless. One that points to a key (jwk, jku, x5u) or changes the
// meaning of the token (crit, b64, zip, enc) is refused.
var allowedHeaders = map[string]bool{"typ": true, "x5t": true, "x5t#S256": true}

func parsePlatformToken(raw string, c compact) (*platformToken, error) {
	x5c, err := readX5CHeader(c.header)
	if err != nil {
		return nil, err
	}
	if err := checkX5CKeys(x5c); err != nil {
		return nil, err
	}
	parsed, err := jose.ParseSigned(raw)
	if err != nil || len(parsed.Headers) != 1 {
		return nil, invalid("it is not a well-formed signed JWT")
	}
	header := parsed.Headers[0]
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	t := &platformToken{
		raw: raw, compact: c, parsed: parsed, x5c: x5c,
		algorithm: header.Algorithm, keyID: header.KeyID,
	}
	if err := parsed.UnsafeClaimsWithoutVerification(&t.claims, &t.all); err != nil || t.all == nil {
		return nil, invalid("its claims are malformed")
	}
	if t.claims.Issuer == "" || t.claims.Subject == "" {
		return nil, invalid("it names no issuer (iss) or no subject (sub)")
	}
	return t, nil
}

func checkHeader(header jose.Header) error {
	if !allowedAlgorithms[header.Algorithm] {
		return invalid("its algorithm %.16q is not allowed", header.Algorithm)
	}
	if header.JSONWebKey != nil {
		return invalid("it brings its own key")
	}
	for name, value := range header.ExtraHeaders {
		if !allowedHeaders[string(name)] {
			return invalid("its header parameter %.32q is not allowed", name)
		}
		if typ, ok := value.(string); name == "typ" && (!ok || !strings.EqualFold(typ, "JWT")) {
			return invalid("its type is not JWT")
		}
	}
	return nil
}

// readX5CHeader returns the certificates that stand in the header. The same bytes go
// through go-jose afterwards, which refuses duplicate keys, so there is no second reading.
func readX5CHeader(header string) ([]string, error) {
	decoded, err := decodeSegment(header)
	if err != nil {
		return nil, invalid("its header is not base64url")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(decoded, &fields); err != nil {
		return nil, invalid("its header is not a JSON object")
	}
	raw, ok := fields["x5c"]
	if !ok {
		return nil, nil
	}
	var chain []string
	if err := json.Unmarshal(raw, &chain); err != nil || len(chain) == 0 {
		return nil, invalid("its x5c header is not a list of certificates")
	}
	return chain, nil
}

// checkTimes demands an expiry, which the JWT libraries treat as optional, and bounds
// it. It returns the expiry.
func (t *platformToken) checkTimes(now time.Time) (time.Time, error) {
	if t.claims.Expiry == nil {
		return time.Time{}, invalid("it has no expiry (exp)")
	}
	expires := t.claims.Expiry.Time()
	begin := time.Unix(0, 0)
	for _, date := range []*jose.NumericDate{t.claims.NotBefore, t.claims.IssuedAt} {
		if date != nil && date.Time().After(begin) {
			begin = date.Time()
		}
	}
	if err := checkWindow(now, begin, expires); err != nil {
		return time.Time{}, err
	}
	if expires.After(now.Add(maxPlatformLifetime + skew)) {
		return time.Time{}, invalid("it would stay valid for more than %v", maxPlatformLifetime)
	}
	return expires, nil
}

// oneTimeID is the token's own id in the provider's name space, or, where it has none,
// a digest of what was signed. The signature is left out: another valid one over the
// same claims is easy to make from an ECDSA signature.
func (t *platformToken) oneTimeID(p provider) string {
	if t.claims.ID != "" {
		return string(p.method()) + ":" + digestID(p.id(), "jti", t.claims.ID)
	}
	return string(p.method()) + ":" + digestID(p.id(), "input", t.compact.signingInput)
}

// hasAudience compares exactly; the provisioners' own comparison ignores ports.
func (t *platformToken) hasAudience(wanted []string) bool {
	for _, audience := range wanted {
		if t.claims.Audience.Contains(audience) {
			return true
		}
	}
	return false
}
