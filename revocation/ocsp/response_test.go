package ocsp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	reference "golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
)

func TestResponsesAgreeWithReference(t *testing.T) {
	cert, key := issuer(t)
	algorithm, err := asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}})
	if err != nil {
		t.Fatal(err)
	}
	produced := time.Date(2026, 3, 1, 12, 34, 56, 0, time.UTC)
	keyHash, err := ResponderKeyHash(cert)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := CertificateTail(cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		status Status
		reason certs.Reason
		want   int
	}{
		{"good", Good, 0, reference.Good},
		{"revoked without a reason", Revoked, certs.Unspecified, reference.Revoked},
		{"revoked", Revoked, certs.KeyCompromise, reference.Revoked},
		{"unknown", Unknown, 0, reference.Unknown},
	} {
		id := certID(t, cert, crypto.SHA256, "80ff")
		data := Data{ResponderKeyHash: keyHash, ProducedAt: produced, Singles: []Single{{
			ID: id, Status: test.status, RevokedAt: produced.Add(-time.Hour), Reason: test.reason,
			ThisUpdate: produced, NextUpdate: produced.Add(time.Hour),
		}}}
		tbs, err := data.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(tbs)
		signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		response, err := Assemble(tbs, algorithm, signature, tail)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(response, tail) || !bytes.Contains(response, id.Raw) {
			t.Errorf("%s: the response does not end with the certificates, or the CertID is not echoed", test.name)
		}
		got, err := reference.ParseResponseForCert(response, nil, cert)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got.Status != test.want || got.RevocationReason != int(test.reason) || !got.ProducedAt.Equal(produced) ||
			!got.ThisUpdate.Equal(produced) || !got.NextUpdate.Equal(produced.Add(time.Hour)) || !bytes.Equal(got.ResponderKeyHash, keyHash) {
			t.Errorf("%s: the reference reads %+v", test.name, got)
		}
		if test.status == Revoked && !got.RevokedAt.Equal(produced.Add(-time.Hour)) {
			t.Errorf("%s: revoked at %v", test.name, got.RevokedAt)
		}
	}
}

func TestFailuresAgreeWithReference(t *testing.T) {
	for failure, want := range map[Failure][]byte{
		Malformed: reference.MalformedRequestErrorResponse, InternalError: reference.InternalErrorErrorResponse,
		TryLater: reference.TryLaterErrorResponse, Unauthorized: reference.UnauthorizedErrorResponse,
	} {
		if got := failure.Response(); !bytes.Equal(got, want) {
			t.Errorf("failure %d is %x, want %x", failure, got, want)
		}
	}
}
