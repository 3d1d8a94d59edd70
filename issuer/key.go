package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	// Already required by smallstep; decodes Ed25519 points, which crypto/ed25519
	// accepts without a look until a signature is verified.
	"filippo.io/edwards25519"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// PublicKey is a public key that passed every check. It comes only from [ParseCSR]
// and [CheckKey]; the zero value is no key and is refused everywhere. It is immutable.
type PublicKey struct {
	algorithm Algorithm
	key       crypto.PublicKey
	spki      []byte // SubjectPublicKeyInfo, encoded here and not taken from outside
	digest    [sha256.Size]byte
	keyID     [keyIDSize]byte
}

// Algorithm returns the kind of key.
func (k PublicKey) Algorithm() Algorithm { return k.algorithm }

// Key returns the key as package crypto knows it. The caller does not change it.
func (k PublicKey) Key() crypto.PublicKey { return k.key }

// Digest returns the SHA-256 of the SubjectPublicKeyInfo: what lists of bad keys hold.
func (k PublicKey) Digest() [sha256.Size]byte { return k.digest }

// IsZero reports whether k is no key at all.
func (k PublicKey) IsZero() bool { return k.key == nil }

// CheckKey accepts pub if it is ECDSA on P-256 or P-384, Ed25519, or RSA with 2048,
// 3072 or 4096 bits and exponent 65537, is a valid point or modulus, shows no sign
// of a broken generator, and is not on the built-in list of keys whose private half
// is public. Errors wrap ErrWeakKey. The cost is bounded: a few milliseconds for the largest RSA key.
func CheckKey(pub crypto.PublicKey) (PublicKey, error) {
	algorithm, err := AlgorithmOf(pub)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrWeakKey, err)
	}
	if err := checkStrength(pub); err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrWeakKey, err)
	}
	key, err := encodeKey(pub, algorithm)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrWeakKey, err)
	}
	if err := checkKnownBad(key); err != nil {
		return PublicKey{}, err
	}
	return key, nil
}

func checkKnownBad(key PublicKey) error {
	if origin, bad := knownBad()[key.digest]; bad {
		return fmt.Errorf("%w: its private key is public (%s); generate a fresh key", ErrWeakKey, origin)
	}
	return nil
}

// p256Prefix is what stands before the 64 octets of an uncompressed point in the one DER
// encoding of a P-256 key (RFC 5480, section 2), which is what encodeKey would write.
var p256Prefix = mustHex("3059301306072a8648ce3d020106082a8648ce3d030107034200" + "04")

// parseP256 is parseKey for what nearly everybody sends, without reading and writing ASN.1.
// ok is false when spki is anything else, or no key: parseKey says then what is wrong.
func parseP256(spki []byte) (key PublicKey, ok bool, err error) {
	if len(spki) != len(p256Prefix)+64 || !bytes.HasPrefix(spki, p256Prefix) {
		return PublicKey{}, false, nil
	}
	point := spki[len(p256Prefix)-1:]
	// It refuses points that are not on the curve; infinity has another encoding.
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return PublicKey{}, false, nil
	}
	sum := sha256.Sum256(point)
	key = PublicKey{algorithm: ECDSAP256, key: pub, spki: bytes.Clone(spki), digest: sha256.Sum256(spki), keyID: [keyIDSize]byte(sum[:keyIDSize])}
	if err := checkKnownBad(key); err != nil {
		return PublicKey{}, true, err
	}
	return key, true, nil
}

func checkStrength(pub crypto.PublicKey) error {
	switch key := pub.(type) {
	case *rsa.PublicKey:
		return checkRSA(key)
	case *ecdsa.PublicKey:
		// ECDH refuses the point at infinity and points that are not on the curve.
		if _, err := key.ECDH(); err != nil {
			return errors.New("ECDSA key is not a point on its curve")
		}
		return nil
	case ed25519.PublicKey:
		return checkEd25519(key)
	default:
		return fmt.Errorf("key type %T is not accepted", pub)
	}
}

// checkEd25519 refuses encodings that are no point, and points of small order: with
// those, anybody can make signatures that verify.
func checkEd25519(key ed25519.PublicKey) error {
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return errors.New("Ed25519 key is not a point on its curve")
	}
	if string(point.Bytes()) != string(key) {
		return errors.New("Ed25519 key is not encoded canonically")
	}
	if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return errors.New("Ed25519 key is a point of small order")
	}
	return nil
}

// encodeKey fills a PublicKey without judging the key.
func encodeKey(pub crypto.PublicKey, algorithm Algorithm) (PublicKey, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return PublicKey{}, err
	}
	id, err := keyIDOf(spki)
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{algorithm: algorithm, key: pub, spki: spki, digest: sha256.Sum256(spki), keyID: id}, nil
}

// keyIDSize is the length of a subject key identifier in octets: 160 bits.
const keyIDSize = 20

// keyIDOf is RFC 7093, section 2, method 1: the leftmost 160 bits of the SHA-256 of
// the subjectPublicKey BIT STRING's value, without tag, length and unused bits.
func keyIDOf(spki []byte) ([keyIDSize]byte, error) {
	input := cryptobyte.String(spki)
	var sequence, bits cryptobyte.String
	var unused uint8
	if !input.ReadASN1(&sequence, asn1.SEQUENCE) ||
		!sequence.SkipASN1(asn1.SEQUENCE) ||
		!sequence.ReadASN1(&bits, asn1.BIT_STRING) ||
		!bits.ReadUint8(&unused) {
		return [keyIDSize]byte{}, errors.New("SubjectPublicKeyInfo is malformed")
	}
	sum := sha256.Sum256(bits)
	return [keyIDSize]byte(sum[:keyIDSize]), nil
}

// KeyID returns cert's subject key identifier in lower-case hexadecimal: how the
// ledger, URLs and logs name an issuer. It is "" when cert has none.
func KeyID(cert *x509.Certificate) string { return hex.EncodeToString(cert.SubjectKeyId) }

// publicKey is what every standard public key can do.
type publicKey interface{ Equal(crypto.PublicKey) bool }

func sameKey(a, b crypto.PublicKey) bool {
	key, ok := a.(publicKey)
	return ok && key.Equal(b)
}
