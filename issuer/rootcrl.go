package issuer

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// SignRootCRL makes a complete CRL of root, DER: it says which intermediates are revoked,
// usually none. The root's key is needed for it, so it is made when that key is at
// hand, with a long validity, and published as a file. number must rise from CRL to
// CRL (RFC 5280, section 5.2.3).
func SignRootCRL(root *x509.Certificate, signer crypto.Signer, revoked []x509.RevocationListEntry, number *big.Int, thisUpdate, nextUpdate time.Time) ([]byte, error) {
	if !sameKey(signer.Public(), root.PublicKey) {
		return nil, errors.New("sign the root's CRL: the key does not belong to the root certificate")
	}
	if number == nil || number.Sign() < 0 || number.BitLen() > 159 {
		return nil, errors.New("sign the root's CRL: the CRL number is not between 0 and 2^159")
	}
	if !thisUpdate.Before(nextUpdate) {
		return nil, errors.New("sign the root's CRL: nextUpdate is not after thisUpdate")
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		RevokedCertificateEntries: revoked,
		Number:                    number,
		ThisUpdate:                thisUpdate.UTC().Truncate(time.Second),
		NextUpdate:                nextUpdate.UTC().Truncate(time.Second),
	}, root, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the root's CRL: %w", err)
	}
	return der, nil
}
