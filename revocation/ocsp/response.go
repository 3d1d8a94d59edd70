package ocsp

import (
	"crypto"
	"crypto/x509"
	encodingasn1 "encoding/asn1"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/handfast/handfast/certs"
)

// Failure is an OCSPResponseStatus other than successful (RFC 6960, section 4.2.1).
type Failure uint8

// The failures. Sending a signature in the request is never required here.
const (
	Malformed     Failure = 1
	InternalError Failure = 2
	TryLater      Failure = 3
	Unauthorized  Failure = 6
)

// Response returns the DER of an OCSPResponse that says only this. It is not signed: RFC
// 6960 has no signature for it.
func (f Failure) Response() []byte {
	return []byte{0x30, 3, 0x0a, 1, byte(f)}
}

// Status is a certificate's status.
type Status uint8

// The statuses (RFC 6960, section 2.2).
const (
	Good    Status = 0
	Revoked Status = 1
	Unknown Status = 2
)

// Single is the answer for one certificate.
type Single struct {
	ID         CertID
	Status     Status
	RevokedAt  time.Time    // with Revoked
	Reason     certs.Reason // with Revoked; unspecified is left out
	ThisUpdate time.Time
	NextUpdate time.Time
}

// Data is what a responder signs (RFC 6960, section 4.2.1: ResponseData). Times are to the second.
type Data struct {
	ResponderKeyHash []byte // SHA-1 of the responder's public key, as ResponderKeyHash returns
	ProducedAt       time.Time
	Singles          []Single
	Nonce            []byte // nil for none
}

// ResponderKeyHash identifies a responder by its key, which is shorter than its name.
func ResponderKeyHash(responder *x509.Certificate) ([]byte, error) {
	key, err := publicKeyBits(responder)
	if err != nil {
		return nil, err
	}
	return digest(crypto.SHA1, key), nil
}

// Marshal returns the DER to be signed.
func (d Data) Marshal() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(2).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1OctetString(d.ResponderKeyHash)
		})
		addTime(b, d.ProducedAt)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, single := range d.Singles {
				b.AddASN1(asn1.SEQUENCE, single.add)
			}
		})
		addNonce(b, asn1.Tag(1), d.Nonce)
	})
	tbs, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode OCSP response: %w", err)
	}
	return tbs, nil
}

func (s Single) add(b *cryptobyte.Builder) {
	b.AddBytes(s.ID.Raw)
	if s.Status == Revoked {
		b.AddASN1(asn1.Tag(1).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			addTime(b, s.RevokedAt)
			if s.Reason != certs.Unspecified {
				b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
					b.AddASN1Enum(int64(s.Reason))
				})
			}
		})
	} else {
		b.AddASN1(asn1.Tag(s.Status).ContextSpecific(), func(*cryptobyte.Builder) {}) // IMPLICIT NULL
	}
	addTime(b, s.ThisUpdate)
	b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { addTime(b, s.NextUpdate) })
}

func addTime(b *cryptobyte.Builder, t time.Time) {
	b.AddASN1(asn1.GeneralizedTime, func(b *cryptobyte.Builder) {
		b.AddBytes(t.UTC().AppendFormat(nil, "20060102150405Z"))
	})
}

var oidBasic = encodingasn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}

// CertificateTail is the end of every response that carries this responder certificate:
// the certs field. Responses in memory can share it.
func CertificateTail(responder *x509.Certificate) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(responder.Raw) })
	})
	tail, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode the OCSP responder's certificate: %w", err)
	}
	return tail, nil
}

// Assemble returns the DER of a successful OCSPResponse: the signed data, the algorithm's
// AlgorithmIdentifier, the signature, and what CertificateTail returned.
func Assemble(tbs, algorithm, signature, tail []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(0) // successful
		b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidBasic)
				b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddBytes(tbs)
						b.AddBytes(algorithm)
						b.AddASN1BitString(signature)
						b.AddBytes(tail)
					})
				})
			})
		})
	})
	response, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode OCSP response: %w", err)
	}
	return response, nil
}
