package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/bench/internal/load"
	"github.com/handfast/handfast/ca/api"
)

// statusRequests has n certificates issued and returns an OCSP request about each.
func (a *authority) statusRequests(ctx context.Context, clients, n int) ([][]byte, error) {
	all := callers(clients, func(int) *tls.Config { return a.clientTLS() })
	requests := make([][]byte, n)
	url := "https://" + a.API + api.PathEnroll
	made, err := newRequests(min(n, 1000)) // the same keys again: only serials matter here
	if err != nil {
		return nil, err
	}
	_, err = load.Closed(ctx, clients, n, func(ctx context.Context, client, unit int) error {
		token, _, err := a.tokens.Mint(service, 0)
		if err != nil {
			return err
		}
		body, err := json.Marshal(api.EnrollRequest{Token: token, CSR: made[unit%len(made)].der})
		if err != nil {
			return err
		}
		if err := all[client].call(ctx, http.MethodPost, url, body, header()); err != nil {
			return err
		}
		requests[unit], err = statusRequest(all[client].buffer.Bytes())
		return err
	})
	return requests, err
}

// statusRequest asks about the certificate in the answer to an enrolment.
func statusRequest(answer []byte) ([]byte, error) {
	var issued api.Issued
	if err := json.Unmarshal(answer, &issued); err != nil {
		return nil, err
	}
	var chain [2]*x509.Certificate
	for i := range chain {
		var err error
		if chain[i], err = x509.ParseCertificate(issued.Chain[i]); err != nil {
			return nil, err
		}
	}
	return ocsp.CreateRequest(chain[0], chain[1], &ocsp.RequestOptions{Hash: crypto.SHA256})
}

// withNonce adds a nonce (RFC 9654) to a request that has no extensions.
func withNonce(request []byte) ([]byte, error) {
	var outer, tbs cryptobyte.String
	input := cryptobyte.String(request)
	if !input.ReadASN1(&outer, asn1.SEQUENCE) || !outer.ReadASN1(&tbs, asn1.SEQUENCE) {
		return nil, errors.New("not an OCSP request")
	}
	nonce := make([]byte, 32)
	rand.Read(nonce) //nolint:errcheck // never fails
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			b.AddASN1(asn1.Tag(2).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier([]int{1, 3, 6, 1, 5, 5, 7, 48, 1, 2})
						b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) })
					})
				})
			})
		})
	})
	return b.Bytes()
}
