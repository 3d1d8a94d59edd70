package issuer

import (
	"bytes"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // to see it refused
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/internal/costtest"
)

func mustHexInt(t *testing.T, s string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(s, 16)
	if !ok {
		t.Fatalf("not hexadecimal: %s", s)
	}
	return n
}

func mustPublicPEM(t *testing.T, s string) crypto.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(s))
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// mustScalar is the key with a private half that is known.
func mustScalar(t *testing.T, curve elliptic.Curve, d string) *ecdsa.PublicKey {
	t.Helper()
	octets := make([]byte, (curve.Params().BitSize+7)/8)
	mustHexInt(t, d).FillBytes(octets)
	key, err := ecdsa.ParseRawPrivateKey(curve, octets)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

func primeAfter(n *big.Int) *big.Int {
	p := new(big.Int).SetBit(n, 0, 1)
	for p.Add(p, big.NewInt(2)); !p.ProbablyPrime(10); p.Add(p, big.NewInt(2)) {
	}
	return p
}

// rocaKey is a vector of github.com/titanous/rocacheck: a key out of an Infineon chip.
const rocaKey = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAlze9c7qGdjDLVR/ntk+4
ZkfMcYsAnmfTFHfe3Xv7jRQqPCXCULtr0y0jG3aRJmEenoXO9uDveqr43gFB9yvA
dLEhu0aJqpB7lNZ+yXsvfVp/96dkSN8oWYL/dd9Z7GQOvVniHUY3Xsd7zdw2eYOy
HSXhhA2Ttwnj3c1jEYfC0y9q1cU99aL0ogGDqolcOvlkJu+mGb+6+WyboFa1gwRu
kYxBHZWKiHCt/eihvXsPTzTlXmTXWdGJtA1xZDnCBWuZ90b5R0agXVIESTl0cCyH
aQM/tLZmktJIU+Eu7ALBXemPg9kh3SCnYd3/YvDGCtYSXOWthHwlP5CImRBcQaNn
cQIDAQAB
-----END PUBLIC KEY-----`

// testRSA2048 of RFC 9500, section 2.1: the public half.
const rfc9500RSA = "b0f9e81943a7ae9892aad4f8ca7c40f8744fed2f8148e6c8eaa27b7d001548fb5192ab28b56c5060b118ccd131e594" +
	"874c6ca989b56c27296f09fb93a034df32e97c6ff0998cfd8e6f42dda58acd1fa97986f144f3d154d67650175e6854b3" +
	"a952003bc06887b8455ac2b19f7b2f76504ebc98ec945571b07892150ddc6a74ca0fbcd35497ce81534daf9418844b13" +
	"aea31f9d5a6b9557bbdf619efd4e887f2d42b8dd8bc987eae1bf89cab85ee21e356305df6c07a8838e3ef41c595dcce4" +
	"3dafc49123ef4d8abba93d3905e4028d7ba91484a27596e07b4b6ed992f077b524d3dcfe7ddd5549be7cce8da035cfa0" +
	"b3fb8f9e46f732b2a86b460165c08f5313"

// weakKeys are refused by themselves, whoever asks with them.
func weakKeys(t *testing.T) map[string]crypto.PublicKey {
	t.Helper()
	random := func(bits int) *big.Int {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)-2))
		if err != nil {
			t.Fatal(err)
		}
		return n.SetBit(n, bits-1, 1).SetBit(n, bits-2, 1).SetBit(n, 0, 1)
	}
	ofModulus := func(n *big.Int, e int) *rsa.PublicKey { return &rsa.PublicKey{N: n, E: e} }
	p := primeAfter(random(1024))
	close1 := new(big.Int).Mul(p, primeAfter(new(big.Int).Set(p)))
	far := new(big.Int).Mul(p, primeAfter(new(big.Int).Add(p, new(big.Int).Lsh(big.NewInt(1), 516))))
	sound := new(big.Int).Mul(p, primeAfter(random(1024)))
	p256 := elliptic.P256()
	ecdhKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edwards := func(s string) ed25519.PublicKey {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	keys := map[string]crypto.PublicKey{
		"nil":                      nil,
		"nil RSA":                  (*rsa.PublicKey)(nil),
		"nil ECDSA":                (*ecdsa.PublicKey)(nil),
		"empty RSA":                &rsa.PublicKey{},
		"empty ECDSA":              &ecdsa.PublicKey{},
		"empty Ed25519":            ed25519.PublicKey{},
		"no pointer":               rsa.PublicKey{N: sound, E: 65537},
		"private key":              mustKey(t, ECDSAP256),
		"DSA":                      &dsa.PublicKey{},
		"X25519":                   ecdhKey.PublicKey(),
		"P-224":                    mustScalar(t, elliptic.P224(), "0123456789abcdef"),
		"P-521":                    mustScalar(t, elliptic.P521(), "0123456789abcdef"),
		"off the curve":            &ecdsa.PublicKey{Curve: p256, X: big.NewInt(1), Y: big.NewInt(1)},
		"infinity":                 &ecdsa.PublicKey{Curve: p256, X: new(big.Int), Y: new(big.Int)},
		"coordinate over p":        &ecdsa.PublicKey{Curve: p256, X: new(big.Int).Add(p256.Params().Gx, p256.Params().P), Y: p256.Params().Gy},
		"negative coordinate":      &ecdsa.PublicKey{Curve: p256, X: p256.Params().Gx, Y: new(big.Int).Neg(p256.Params().Gy)},
		"RSA 1024":                 ofModulus(p, 65537),
		"RSA 2047":                 ofModulus(new(big.Int).Rsh(random(2048), 1), 65537),
		"RSA 2432":                 ofModulus(random(2432), 65537),
		"RSA 8192":                 ofModulus(random(8192), 65537),
		"RSA 65536":                ofModulus(random(65536), 65537),
		"negative modulus":         ofModulus(new(big.Int).Neg(sound), 65537),
		"exponent 3":               ofModulus(sound, 3),
		"exponent 1":               ofModulus(sound, 1),
		"exponent 65539":           ofModulus(sound, 65539),
		"even modulus":             ofModulus(new(big.Int).SetBit(sound, 0, 0), 65537),
		"factor 3":                 ofModulus(multiple(random(2048), 3), 65537),
		"factor 751":               ofModulus(multiple(random(2048), 751), 65537),
		"close primes":             ofModulus(close1, 65537),
		"primes 2^516 apart":       ofModulus(far, 65537),
		"square":                   ofModulus(new(big.Int).Mul(p, p), 65537),
		"ROCA":                     mustPublicPEM(t, rocaKey),
		"RFC 9500 testRSA2048":     ofModulus(mustHexInt(t, rfc9500RSA), 65537),
		"RFC 9500 testECCP256":     mustScalar(t, p256, "e6cb5bdd80aa45ae9c95e8c15476679ffec953c16851e711e743939589c64fc1"),
		"RFC 9500 testECCP384":     mustScalar(t, elliptic.P384(), "e2563328dfabf68188606b91324281c1d58a4456431b09d510b35fecc9f307ca1822846fa2671371a9a81bac0e35749d"),
		"RFC 6979 P-256":           mustScalar(t, p256, "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"),
		"private key 1":            mustScalar(t, p256, "1"),
		"P-384 private key 2":      mustScalar(t, elliptic.P384(), "2"),
		"RFC 8032 TEST 1":          edwards("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
		"Ed25519 zero seed":        ed25519.NewKeyFromSeed(make([]byte, 32)).Public(),
		"Ed25519 short":            edwards("d75a98"),
		"Ed25519 identity":         edwards("0100000000000000000000000000000000000000000000000000000000000000"),
		"Ed25519 order 2":          edwards("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		"Ed25519 order 4":          edwards("0000000000000000000000000000000000000000000000000000000000000000"),
		"Ed25519 order 8":          edwards("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
		"Ed25519 not canonical":    edwards("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		"Ed25519 not on the curve": edwards("0200000000000000000000000000000000000000000000000000000000000000"),
	}
	return keys
}

// multiple returns the odd multiple of k at or below n that keeps n's length.
func multiple(n *big.Int, k int64) *big.Int {
	q := new(big.Int).Div(n, big.NewInt(k))
	q.SetBit(q, 0, 1)
	return q.Mul(q, big.NewInt(k))
}

// Invariant 9: weak keys and known-bad keys are refused.
func TestWeakKeysAreRefused(t *testing.T) {
	for name, pub := range weakKeys(t) {
		t.Run(name, func(t *testing.T) {
			var key PublicKey
			var err error
			took := costtest.Measure(t, func() { key, err = CheckKey(pub) })
			if !errors.Is(err, ErrWeakKey) || !key.IsZero() {
				t.Fatalf("error %v", err)
			}
			if took > time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestSoundKeysAreAccepted(t *testing.T) {
	for _, a := range Algorithms() {
		if a == RSA4096 { // takes seconds to make
			continue
		}
		key := mustCheckKey(t, mustKey(t, a).Public())
		if key.Algorithm() != a {
			t.Errorf("%s is taken for %s", a, key.Algorithm())
		}
		again, err := x509.ParsePKIXPublicKey(key.spki)
		if err != nil || !sameKey(again, key.Key()) {
			t.Errorf("%s: encoded as another key (%v)", a, err)
		}
	}
}

// The key identifier is that of RFC 7093, section 2, method 1, which crypto/x509 uses too.
func TestKeyIDEqualsStandardLibrary(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}, ca.root, ca.issuingKey.Public(), ca.rootKey)
	if err != nil {
		t.Fatal(err)
	}
	standard, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if KeyID(standard) != KeyID(ca.issuing) {
		t.Fatalf("ours %s, crypto/x509 %s", KeyID(ca.issuing), KeyID(standard))
	}
}

// Invariant 9: the CA's own keys, and those on the operator's list, are refused as leaf keys.
func TestOwnAndListedKeysAreRefused(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	listed := mustKey(t, ECDSAP256).Public()
	digest := mustCheckKey(t, listed).Digest()
	file, err := ReadKeyList("bad-keys.txt", strings.NewReader("# ours\n\n"+strings.ToUpper(hex.EncodeToString(digest[:]))+"\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := NewKeyList("it is a root's key", ca.root.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if file.Len() != 1 || roots.Len() != 1 || (*KeyList)(nil).Len() != 0 {
		t.Fatalf("lists of %d and %d", file.Len(), roots.Len())
	}
	if ca.issuer, err = New([]*x509.Certificate{ca.issuing}, ca.issuingKey, WithRefusedKeys(file), WithRefusedKeys(roots), WithRefusedKeys(nil)); err != nil {
		t.Fatal(err)
	}
	p := ca.compile(t, ServiceDefault(), testEndpoints())
	for name, pub := range map[string]crypto.PublicKey{"issuing key": ca.issuing.PublicKey, "root's key": ca.root.PublicKey, "listed key": listed} {
		if _, err := p.Draft(testSubject(t, mustCheckKey(t, pub)), epoch()); !errors.Is(err, ErrWeakKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProfileRefusesKindsOfKey(t *testing.T) {
	ca := newTestCA(t, ECDSAP256)
	config := ServiceDefault()
	config.KeyAlgorithms = []Algorithm{Ed25519}
	p := ca.compile(t, config, testEndpoints())
	if _, err := p.Draft(testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public())), epoch()); !errors.Is(err, ErrWeakKey) {
		t.Errorf("P-256: %v", err)
	}
	if _, err := p.Draft(testSubject(t, mustCheckKey(t, mustKey(t, Ed25519).Public())), epoch()); err != nil {
		t.Errorf("Ed25519: %v", err)
	}
}

// The filter before the square root lets every square pass.
func TestMayBeSquare(t *testing.T) {
	passed := 0
	for i := range int64(4096) {
		n := big.NewInt(i)
		root := new(big.Int).Sqrt(n)
		if root.Mul(root, root).Cmp(n) == 0 && !mayBeSquare(n) {
			t.Fatalf("%d is a square", i)
		}
		if mayBeSquare(n) {
			passed++
		}
	}
	if passed > 1000 {
		t.Errorf("%d of 4096 pass: the filter filters nothing", passed)
	}
}

// TestP256KeysAreReadAsAnyOther: the short way and the long one come to the same, to the byte.
func TestP256KeysAreReadAsAnyOther(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	want, err := CheckKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := parseP256(want.spki)
	if !ok || err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("parseP256 = %+v, %v, %v; want %+v", got, ok, err, want)
	}
	offCurve := bytes.Clone(want.spki)
	offCurve[len(offCurve)-1] ^= 1
	compressed := append(bytes.Clone(want.spki[:len(p256Prefix)-1]), 2)
	for name, spki := range map[string][]byte{
		"not on the curve": offCurve, "compressed": append(compressed, want.spki[len(p256Prefix):]...), "cut": want.spki[:90], "longer": append(bytes.Clone(want.spki), 0), "nothing": nil,
	} {
		if got, ok, _ := parseP256(spki); ok || !got.IsZero() {
			t.Errorf("%s: parseP256 takes it", name)
		}
		if got, err := parseKey(spki); !errors.Is(err, ErrBadCSR) || !got.IsZero() {
			t.Errorf("%s: parseKey: %v, want ErrBadCSR", name, err)
		}
	}
}
