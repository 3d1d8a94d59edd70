package revocation

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
)

var errNoKey = errors.New("the key is away")

// flakySigner signs a limited number of times.
type flakySigner struct {
	*testCA
	limited bool
	left    int
}

func (s *flakySigner) SignCRL(tbs []byte) ([]byte, error) {
	if s.limited && s.left == 0 {
		return nil, errNoKey
	}
	s.left--
	return s.testCA.SignCRL(tbs)
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
