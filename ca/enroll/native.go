package enroll

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// Bounds of a native token's lifetime.
const (
	MinTokenTTL     = time.Minute
	MaxTokenTTL     = 24 * time.Hour
	DefaultTokenTTL = 15 * time.Minute
)

// skew is how far two honest clocks may differ.
const skew = time.Minute

const (
	nativeKeySize = 32
	// jtiSize is a place and 136 random bits; ids never collide by chance.
	jtiSize = placeSize + 17
	// placeSize is how many octets say when a token was minted, in units of mintTick; they begin anew
	// after twelve days. Tokens that are minted one after the other are mostly used so, and then share the ledger's pages.
	placeSize = 4
	mintTick  = time.Second / 4096
)

// nativeHeader is the only header that Mint writes, so the only one that is accepted:
// there is no algorithm to choose and nothing else to interpret.
//
// {"alg":"HS256","typ":"handfast-enrol+jwt"}
const nativeHeader = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImhhbmRmYXN0LWVucm9sK2p3dCJ9"

// nativeClaims is the payload. Every field is always present.
type nativeClaims struct {
	Issuer      string `json:"iss"`
	Audience    string `json:"aud"` // the trust domain
	Subject     string `json:"sub"` // the service
	ID          string `json:"jti"`
	IssuedAt    int64  `json:"iat"` // seconds since the epoch, as nbf and exp
	NotBefore   int64  `json:"nbf"`
	Expiry      int64  `json:"exp"`
	CA          string `json:"ca"`
	Fingerprint string `json:"fpr"`
}

// native mints and verifies this CA's own tokens. A MAC is enough, and the cheapest:
// who mints and who verifies is the same party.
type native struct {
	macs        *sync.Pool // of hash.Hash, keyed: to key one costs more than to hash a token
	trustDomain certs.TrustDomain
	url         string
	fingerprint string
	ttl         time.Duration
	now         func() time.Time
}

func newNative(cfg Config, now func() time.Time) native {
	ttl := cfg.TokenTTL
	if ttl == 0 {
		ttl = DefaultTokenTTL
	}
	key := bytes.Clone(cfg.NativeKey)
	return native{
		macs:        &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }},
		trustDomain: cfg.TrustDomain,
		url:         cfg.URL,
		fingerprint: cfg.Fingerprint,
		ttl:         ttl,
		now:         now,
	}
}

// Mint makes a one-time token for service that expires after ttl; 0 is the
// configured default. It does not ask whether the service exists or who may mint:
// that is [ca.CA.AuthorizeToken]. The token is a secret until it has been used.
func (e *Enroller) Mint(service string, ttl time.Duration) (token string, expires time.Time, err error) {
	return e.native.mint(service, ttl)
}

func (n native) mint(service string, ttl time.Duration) (string, time.Time, error) {
	if ttl == 0 {
		ttl = n.ttl
	}
	if ttl < MinTokenTTL || ttl > MaxTokenTTL {
		return "", time.Time{}, badRequest("token lifetime %v is outside %v to %v", ttl, MinTokenTTL, MaxTokenTTL)
	}
	if err := checkService(n.trustDomain, service); err != nil {
		return "", time.Time{}, badRequest("token for service %q: %v", service, err)
	}
	now := n.now()
	jti := newTokenID(now)
	now = now.Truncate(time.Second)
	expires := now.Add(ttl)
	payload, err := json.Marshal(nativeClaims{
		Issuer:      api.TokenIssuer,
		Audience:    n.trustDomain.String(),
		Subject:     service,
		ID:          base64.RawURLEncoding.EncodeToString(jti),
		IssuedAt:    now.Unix(),
		NotBefore:   now.Unix(),
		Expiry:      expires.Unix(),
		CA:          n.url,
		Fingerprint: n.fingerprint,
	})
	if err != nil {
		return "", time.Time{}, err
	}
	input := nativeHeader + "." + base64.RawURLEncoding.EncodeToString(payload)
	return input + "." + base64.RawURLEncoding.EncodeToString(n.mac(input)), expires.UTC(), nil
}

func newTokenID(now time.Time) []byte {
	jti := make([]byte, jtiSize)
	rand.Read(jti[placeSize:]) //nolint:errcheck // never fails: crypto/rand ends the process instead
	ticks := uint64(now.Unix())*uint64(time.Second/mintTick) + uint64(time.Duration(now.Nanosecond())/mintTick)
	binary.BigEndian.PutUint32(jti, uint32(ticks)) // its low bits
	return jti
}

// place follows from the token: only the CA mints, and never two tokens with one id.
func (c nativeClaims) place() uint32 {
	if jti, err := base64.RawURLEncoding.DecodeString(c.ID); err == nil && len(jti) == jtiSize {
		return binary.BigEndian.Uint32(jti)
	}
	return uint32(c.Expiry) // minted by a version whose ids were random throughout, and of another size
}

func (n native) mac(input string) []byte {
	h := n.macs.Get().(hash.Hash)
	defer n.macs.Put(h)
	h.Reset()
	io.WriteString(h, input) //nolint:errcheck // a hash never fails
	return h.Sum(nil)
}

// verify checks the MAC before it looks at anything that the sender has written.
func (n native) verify(c compact) (ca.Claim, error) {
	if !hmac.Equal(c.signature, n.mac(c.signingInput)) {
		return ca.Claim{}, invalid("this CA did not mint it")
	}
	claims, err := readNativeClaims(c.payload)
	if err != nil {
		return ca.Claim{}, invalid("its claims are malformed")
	}
	switch {
	case claims.Issuer != api.TokenIssuer:
		return ca.Claim{}, invalid("its issuer is not %q", api.TokenIssuer)
	case claims.Audience != n.trustDomain.String():
		return ca.Claim{}, invalid("it is for trust domain %q, not for %q", claims.Audience, n.trustDomain)
	case len(claims.ID) < base64.RawURLEncoding.EncodedLen(16) || len(claims.ID) > 128:
		return ca.Claim{}, invalid("its id is too short or too long")
	case claims.Expiry-claims.IssuedAt > int64(MaxTokenTTL/time.Second):
		return ca.Claim{}, invalid("it was made to last longer than %v", MaxTokenTTL)
	}
	if err := checkService(n.trustDomain, claims.Subject); err != nil {
		return ca.Claim{}, invalid("it names no service")
	}
	expires := time.Unix(claims.Expiry, 0)
	if err := checkWindow(n.now(), time.Unix(max(claims.NotBefore, claims.IssuedAt), 0), expires); err != nil {
		return ca.Claim{}, err
	}
	return ca.Claim{
		Service: claims.Subject,
		Method:  ca.MethodToken,
		OneTime: &ca.OneTime{ID: ca.Placed(claims.place(), "token:"+claims.ID), ExpiresAt: expires.Add(skew)},
		By:      "token " + claims.ID,
	}, nil
}

// readNativeClaims reads payloads that are written as Mint writes them now without encoding/json.
func readNativeClaims(payload []byte) (nativeClaims, error) {
	if claims, ok := scanNativeClaims(payload); ok {
		return claims, nil
	}
	return decodeNativeClaims(payload)
}

func decodeNativeClaims(payload []byte) (nativeClaims, error) {
	var claims nativeClaims
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&claims); err != nil {
		return nativeClaims{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nativeClaims{}, errors.New("more than one value")
	}
	return claims, nil
}

// checkWindow refuses a token before notBefore and after expires, each with the skew.
// At expires+skew sharp the ledger may forget the token's id, so it is refused then.
func checkWindow(now, notBefore, expires time.Time) error {
	if now.Add(skew).Before(notBefore) {
		return expired("it is not valid before %s, and the CA's clock says %s", stamp(notBefore), stamp(now))
	}
	if !now.Add(-skew).Before(expires) {
		return expired("it expired at %s, and the CA's clock says %s", stamp(expires), stamp(now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// checkService refuses what can be no service's name.
func checkService(td certs.TrustDomain, service string) error {
	id, err := td.ID(service)
	if err != nil {
		return err
	}
	if id.IsReserved() {
		return errors.New("names below " + certs.ReservedPrefix + "/ belong to the CA itself")
	}
	return nil
}

func newDigest() hash.Hash { return sha256.New() }
