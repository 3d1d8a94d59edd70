package ocsp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	reference "golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/costtest"
)

// issuer returns a CA certificate and its key.
func issuer(t testing.TB) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Issuer"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: []byte{1, 2},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func serial(t testing.TB, hex string) certs.Serial {
	t.Helper()
	s, err := certs.ParseSerial(hex)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func certID(t testing.TB, cert *x509.Certificate, hash crypto.Hash, hex string) CertID {
	t.Helper()
	id, err := NewCertID(cert, hash, serial(t, hex))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// What golang.org/x/crypto/ocsp asks is read, and what is asked here is read there.
func TestRequestsAgreeWithReference(t *testing.T) {
	cert, _ := issuer(t)
	for _, hash := range Hashes() {
		for _, number := range []string{"01", "7f", "80", "ff00ff", "80aabbccddeeff00112233445566778899aabbcc"} {
			leaf := &x509.Certificate{SerialNumber: serial(t, number).Int()}
			der, err := reference.CreateRequest(leaf, cert, &reference.RequestOptions{Hash: hash})
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseRequest(der)
			if err != nil {
				t.Fatalf("%v %s: %v", hash, number, err)
			}
			want := certID(t, cert, hash, number)
			if len(got.IDs) != 1 || got.Nonce != nil || got.IDs[0].Hash != hash ||
				!bytes.Equal(got.IDs[0].NameHash, want.NameHash) || !bytes.Equal(got.IDs[0].KeyHash, want.KeyHash) ||
				!bytes.Equal(got.IDs[0].Serial, want.Serial) {
				t.Errorf("%v %s: got %+v, want %+v", hash, number, got, want)
			}
			own, err := (&Request{IDs: []CertID{want}}).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			back, err := reference.ParseRequest(own)
			if err != nil || back.SerialNumber.Cmp(leaf.SerialNumber) != 0 || back.HashAlgorithm != hash {
				t.Errorf("%v %s: the reference reads %+v, %v", hash, number, back, err)
			}
		}
	}
}

// der builds a TLV with a short or long length.
func der(tag byte, contents ...[]byte) []byte {
	body := bytes.Join(contents, nil)
	out, err := asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), IsCompound: tag&0x20 != 0, Tag: int(tag & 0x1f), Bytes: body})
	if err != nil {
		panic(err)
	}
	return out
}

func extension(oid asn1.ObjectIdentifier, critical bool, value []byte) []byte {
	out, err := asn1.Marshal(pkix.Extension{Id: oid, Critical: critical, Value: value})
	if err != nil {
		panic(err)
	}
	return out
}

// whyMalformed says for requests that are refused late why they must be.
var whyMalformed = map[string]string{
	"version 2":                  "version is not 1",
	"no certificate":             "empty",
	"one more":                   "more than 32",
	"nonce of 0":                 "nonce of 0",
	"nonce of 129":               "nonce of 129",
	"nonce that is not wrapped":  "not an OCTET STRING",
	"nonce twice":                "comes twice",
	"unknown critical extension": "critical and unknown",
	"unknown critical extension of one certificate": "critical and unknown",
	"serial with a needless zero":                   "serialNumber",
	"serial with needless ones":                     "serialNumber",
	"too long":                                      "at most 8192",
}

func TestParseRequest(t *testing.T) {
	cert, _ := issuer(t)
	id := certID(t, cert, crypto.SHA1, "0102").Raw
	one := der(0x30, der(0x30, id)) // requestList
	tbs := func(parts ...[]byte) []byte { return der(0x30, der(0x30, parts...)) }
	nonce := func(n int) []byte {
		return der(0xa2, der(0x30, extension(oidNonce, false, der(0x04, make([]byte, n)))))
	}
	unknown := asn1.ObjectIdentifier{1, 2, 3}
	signature := der(0xa0, der(0x30, []byte{5, 0}))
	sha1OID := der(0x06, []byte{0x2b, 0x0e, 3, 2, 0x1a})
	withSerial := func(contents ...byte) []byte {
		return tbs(der(0x30, der(0x30, der(0x30, der(0x30, sha1OID), der(0x04, make([]byte, 20)), der(0x04, make([]byte, 20)), der(0x02, contents)))))
	}
	many := func(n int) []byte { return tbs(der(0x30, bytes.Repeat(der(0x30, id), n))) }
	for _, test := range []struct {
		name  string
		in    []byte
		ids   int // 0: malformed
		nonce int
	}{
		{"plain", tbs(one), 1, 0},
		{"explicit version 1", tbs(der(0xa0, []byte{2, 1, 0}), one), 1, 0},
		{"version 2", tbs(der(0xa0, []byte{2, 1, 1}), one), 0, 0},
		{"requestor's name", tbs(der(0xa1, der(0xa4, der(0x30))), one), 1, 0},
		{"signed", der(0x30, der(0x30, one), signature), 1, 0},
		{"two signatures", der(0x30, der(0x30, one), signature, signature), 0, 0},
		{"no certificate", tbs(der(0x30)), 0, 0},
		{"as many certificates as are read", many(MaxCertificates), MaxCertificates, 0},
		{"one more", many(MaxCertificates + 1), 0, 0},
		{"nonce of 0", tbs(one, nonce(0)), 0, 0},
		{"nonce of 1", tbs(one, nonce(1)), 1, 1},
		{"nonce of 16", tbs(one, nonce(16)), 1, 16},
		{"nonce of 128", tbs(one, nonce(128)), 1, 128},
		{"nonce of 129", tbs(one, nonce(129)), 0, 0},
		{"nonce that is not wrapped", tbs(one, der(0xa2, der(0x30, extension(oidNonce, false, make([]byte, 16))))), 0, 0},
		{"nonce twice", tbs(one, der(0xa2, der(0x30, bytes.Repeat(extension(oidNonce, false, der(0x04, make([]byte, 16))), 2)))), 0, 0},
		{"preferred algorithms", tbs(one, der(0xa2, der(0x30, extension(oidPreferredAlgs, true, der(0x30))))), 1, 0},
		{"unknown extension", tbs(one, der(0xa2, der(0x30, extension(unknown, false, nil)))), 1, 0},
		{"unknown critical extension", tbs(one, der(0xa2, der(0x30, extension(unknown, true, nil)))), 0, 0},
		{"unknown extension of one certificate", tbs(der(0x30, der(0x30, id, der(0xa0, der(0x30, extension(unknown, false, nil)))))), 1, 0},
		{"unknown critical extension of one certificate", tbs(der(0x30, der(0x30, id, der(0xa0, der(0x30, extension(unknown, true, nil)))))), 0, 0},
		{"negative serial", withSerial(0xff), 1, 0},
		{"empty serial", withSerial(), 0, 0},
		{"serial with a needless zero", withSerial(0, 1), 0, 0},
		{"serial with needless ones", withSerial(0xff, 0x80), 0, 0},
		{"trailing octet", append(tbs(one), 0), 0, 0},
		{"empty", nil, 0, 0},
		{"indefinite length", []byte{0x30, 0x80, 0, 0}, 0, 0},
		{"too long", make([]byte, MaxRequest+1), 0, 0},
		{"a certificate", cert.Raw, 0, 0},
	} {
		request, err := ParseRequest(test.in)
		if test.ids == 0 {
			if err == nil {
				t.Errorf("%s: read as %+v", test.name, request)
			} else if why := whyMalformed[test.name]; !strings.Contains(err.Error(), why) {
				t.Errorf("%s: refused with %v, not for %q", test.name, err, why)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if len(request.IDs) != test.ids || len(request.Nonce) != test.nonce {
			t.Errorf("%s: %d certificates and a nonce of %d octets", test.name, len(request.IDs), len(request.Nonce))
		}
	}
}

// With and without NULL parameters, and with an algorithm nobody knows, a CertID is kept as it was sent.
func TestCertIDIsKeptAsSent(t *testing.T) {
	for _, test := range []struct {
		name      string
		algorithm []byte
		hash      crypto.Hash
	}{
		{"SHA-1 with NULL", der(0x30, der(0x06, []byte{0x2b, 0x0e, 3, 2, 0x1a}), []byte{5, 0}), crypto.SHA1},
		{"SHA-1 without", der(0x30, der(0x06, []byte{0x2b, 0x0e, 3, 2, 0x1a})), crypto.SHA1},
		{"SHA-256 without", der(0x30, der(0x06, []byte{0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1})), crypto.SHA256},
		{"SHA-224", der(0x30, der(0x06, []byte{0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4})), 0},
	} {
		raw := der(0x30, test.algorithm, der(0x04, []byte("name")), der(0x04, []byte("key")), der(0x02, []byte{0, 0x80}))
		request, err := ParseRequest(der(0x30, der(0x30, der(0x30, der(0x30, raw)))))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		id := request.IDs[0]
		if !bytes.Equal(id.Raw, raw) || id.Hash != test.hash || string(id.NameHash) != "name" || string(id.KeyHash) != "key" || !bytes.Equal(id.Serial, []byte{0, 0x80}) {
			t.Errorf("%s: %+v", test.name, id)
		}
	}
}

// What is parsed and built again is parsed as the same; and garbage is refused, at once.
// A request for one certificate without extensions is the simplest one; others are not.
func TestOnlyCertID(t *testing.T) {
	cert, _ := issuer(t)
	one, two := certID(t, cert, crypto.SHA1, "ff"), certID(t, cert, crypto.SHA256, "0a0b")
	for _, test := range []struct {
		request Request
		want    bool
	}{
		{Request{IDs: []CertID{one}}, true}, {Request{IDs: []CertID{two}}, true},
		{Request{IDs: []CertID{one}, Nonce: make([]byte, 16)}, false}, {Request{IDs: []CertID{one, one}}, false},
		{Request{IDs: []CertID{certID(t, cert, crypto.SHA512, "ff")}}, false}, // too long for short lengths
	} {
		der, err := test.request.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		id, ok := OnlyCertID(der)
		if ok != test.want || ok && !bytes.Equal(id, test.request.IDs[0].Raw) {
			t.Errorf("%x: %x, %v, want %v", der, id, ok, test.want)
		}
		for i := range der {
			if id, ok := OnlyCertID(der[:i]); ok {
				t.Errorf("%x: cut off at %d it holds %x", der, i, id)
			}
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	cert, _ := issuer(f)
	for _, nonce := range [][]byte{nil, make([]byte, 16), make([]byte, 128)} {
		seed, err := (&Request{IDs: []CertID{certID(f, cert, crypto.SHA1, "ff"), certID(f, cert, crypto.SHA256, "0a0b")}, Nonce: nonce}).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		var first *Request
		var err error
		if took := costtest.Measure(t, func() { first, err = ParseRequest(in) }); took > time.Second {
			t.Fatalf("%d octets took %v", len(in), took)
		}
		if err != nil {
			return
		}
		if id, ok := OnlyCertID(in); ok && (len(first.IDs) != 1 || !bytes.Equal(first.IDs[0].Raw, id) || first.Nonce != nil) {
			t.Fatalf("%x is said to hold %x only, and holds %+v", in, id, first)
		}
		built, err := first.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		second, err := ParseRequest(built)
		if err != nil {
			t.Fatalf("built %x: %v", built, err)
		}
		again, err := second.Marshal()
		if err != nil || !bytes.Equal(again, built) {
			t.Fatalf("built %x, then %x (%v)", built, again, err)
		}
		if len(first.IDs) != len(second.IDs) || !bytes.Equal(first.Nonce, second.Nonce) {
			t.Fatalf("%+v became %+v", first, second)
		}
		for i := range first.IDs {
			if !bytes.Equal(first.IDs[i].Raw, second.IDs[i].Raw) {
				t.Fatalf("CertID %x became %x", first.IDs[i].Raw, second.IDs[i].Raw)
			}
		}
	})
}
