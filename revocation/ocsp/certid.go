package ocsp

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/handfast/handfast/certs"
)

// IssuerHashes returns the two hashes by which a CertID names an issuer.
func IssuerHashes(issuer *x509.Certificate, hash crypto.Hash) (nameHash, keyHash []byte, err error) {
	key, err := publicKeyBits(issuer)
	if err != nil {
		return nil, nil, err
	}
	return digest(hash, issuer.RawSubject), digest(hash, key), nil
}

// NewCertID names the certificate that issuer gave the serial number to. hash is one of Hashes.
func NewCertID(issuer *x509.Certificate, hash crypto.Hash, serial certs.Serial) (CertID, error) {
	id := CertID{Hash: hash}
	var err error
	if id.NameHash, id.KeyHash, err = IssuerHashes(issuer, hash); err != nil {
		return CertID{}, err
	}
	for _, known := range hashes {
		if known.hash != hash {
			continue
		}
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(known.oid)) })
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(id.NameHash)
			b.AddASN1OctetString(id.KeyHash)
			b.AddASN1BigInt(serial.Int())
		})
		raw, err := b.Bytes()
		if err != nil {
			return CertID{}, fmt.Errorf("encode CertID: %w", err)
		}
		input := cryptobyte.String(raw)
		return readCertID(&input)
	}
	return CertID{}, fmt.Errorf("CertIDs with %v are not known", hash)
}

// publicKeyBits returns what key hashes are made of: the subjectPublicKey without tag,
// length and number of unused bits.
func publicKeyBits(certificate *x509.Certificate) ([]byte, error) {
	input := cryptobyte.String(certificate.RawSubjectPublicKeyInfo)
	var info cryptobyte.String
	var key []byte
	if !input.ReadASN1(&info, asn1.SEQUENCE) || !info.SkipASN1(asn1.SEQUENCE) || !info.ReadASN1BitStringAsBytes(&key) {
		return nil, errors.New("the certificate's public key is not a SubjectPublicKeyInfo")
	}
	return key, nil
}

func digest(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}
