package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// request is a fresh key and a CSR for it.
type request struct {
	key *ecdsa.PrivateKey
	der []byte
}

// newRequest makes a CSR with the names that the certificate will carry: step-ca wants
// them there, Handfast reads the key only.
func newRequest() (request, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return request{}, err
	}
	id, err := url.Parse(serviceID)
	if err != nil {
		return request{}, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: serviceDNS}, DNSNames: []string{serviceDNS}, URIs: []*url.URL{id},
	}, key)
	return request{key, der}, err
}

func newRequests(n int) ([]request, error) {
	return parallel(n, func(int) (request, error) { return newRequest() })
}

// prepare makes the bodies of a round before its clock starts, each with a fresh key.
func prepare(n int, body func(request) ([]byte, error)) ([][]byte, error) {
	return parallel(n, func(int) ([]byte, error) {
		r, err := newRequest()
		if err != nil {
			return nil, err
		}
		return body(r)
	})
}

// parallel calls f for 0 to n-1 on all cores.
func parallel[T any](n int, f func(i int) (T, error)) ([]T, error) {
	all := make([]T, n)
	var group errgroup.Group
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		group.Go(func() (err error) {
			for i := w; i < n; i += workers {
				if all[i], err = f(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all, group.Wait()
}
