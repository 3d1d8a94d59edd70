package revocation

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"

	"github.com/handfast/handfast/certs"
)

var errNoKey = errors.New("the key is away")

// flakySigner signs a limited number of times.
type flakySigner struct {
	*testCA
	limited bool
	left    int
}

func (s *flakySigner) SignCRL(tbs ...[]byte) ([]byte, error) {
	if s.limited && s.left == 0 {
		return nil, errNoKey
	}
	s.left--
	return s.testCA.SignCRL(tbs...)
}

func makeCRL(t testing.TB, list *x509.RevocationList, ca *testCA) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

var criticalIDP = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x81, 1, 0xff}}}

func readInteger(t testing.TB, der []byte) *big.Int {
	t.Helper()
	var n *big.Int
	if rest, err := asn1.Unmarshal(der, &n); err != nil || len(rest) > 0 {
		t.Fatalf("%x is no INTEGER: %v", der, err)
	}
	return n
}

// leafWith is enough of a certificate to look its answer up in a response.
func leafWith(serial certs.Serial) *x509.Certificate {
	return &x509.Certificate{SerialNumber: serial.Int()}
}

// dropNull encodes a CertID again without its algorithm's NULL parameters.
func dropNull(t testing.TB, raw []byte) []byte {
	t.Helper()
	var id struct {
		Algorithm pkix.AlgorithmIdentifier
		Name, Key []byte
		Serial    *big.Int
	}
	if _, err := asn1.Unmarshal(raw, &id); err != nil {
		t.Fatal(err)
	}
	id.Algorithm.Parameters = asn1.RawValue{}
	der, err := asn1.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

type cryptoSigner = crypto.Signer
