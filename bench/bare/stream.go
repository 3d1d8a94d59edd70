package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/bench/internal/wire"
)

// accept serves each connection in a goroutine of its own.
func accept(listener net.Listener, serve func(net.Conn)) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go serve(conn)
	}
}

func serveStream(listener net.Listener, _ string) error {
	return accept(listener, func(conn net.Conn) {
		defer conn.Close()    //nolint:errcheck // its end is the client's doing
		_ = wire.Answer(conn) // likewise
	})
}

func serveCopy(listener net.Listener, target string) error {
	config, err := tlsConfig(tls.RequireAndVerifyClientCert)
	if err != nil {
		return err
	}
	return accept(tls.NewListener(listener, config), func(conn net.Conn) {
		defer conn.Close() //nolint:errcheck // as above
		if conn.(*tls.Conn).Handshake() != nil {
			return
		}
		backend, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer backend.Close() //nolint:errcheck // as above
		var up sync.WaitGroup
		up.Go(func() {
			_, _ = io.Copy(backend, conn)
			_ = backend.(*net.TCPConn).CloseWrite()
		})
		_, _ = io.Copy(conn, backend)
		_ = conn.(*tls.Conn).CloseWrite()
		up.Wait()
	})
}

// serveSign is the floor of a renewal by an agent that connects anew: one mutual
// handshake, one certificate.
func serveSign(listener net.Listener, _ string) error {
	config, err := tlsConfig(tls.RequireAndVerifyClientCert)
	if err != nil {
		return err
	}
	issuer, key, err := newIssuer()
	if err != nil {
		return err
	}
	return accept(tls.NewListener(listener, config), func(conn net.Conn) {
		defer conn.Close() //nolint:errcheck // as above
		if conn.(*tls.Conn).Handshake() != nil {
			return
		}
		peer := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		der, err := x509.CreateCertificate(rand.Reader, leaf(peer), issuer, peer.PublicKey, key)
		if err != nil {
			return
		}
		_, _ = conn.Write(der)
	})
}

func leaf(peer *x509.Certificate) *x509.Certificate {
	serial := make([]byte, 20)
	rand.Read(serial) //nolint:errcheck // never fails
	serial[0] &= 0x7f
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), NotBefore: now, NotAfter: now.Add(time.Hour),
		URIs: []*url.URL{peer.URIs[0]}, DNSNames: peer.DNSNames, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func newIssuer() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bare"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	issuer, err := x509.ParseCertificate(der)
	return issuer, key, err
}

// serveOCSP answers "good" for every serial with a fresh signature.
func serveOCSP(listener net.Listener, _ string) error {
	issuer, key, err := newIssuer()
	if err != nil {
		return err
	}
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(bufio.NewReader(http.MaxBytesReader(w, r.Body, 1<<12)))
		if err != nil {
			return
		}
		response, err := answerOCSP(body, issuer, key)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(response)
	}))
}

func answerOCSP(request []byte, issuer *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	parsed, err := ocsp.ParseRequest(request)
	if err != nil {
		return nil, errors.New("not an OCSP request")
	}
	now := time.Now()
	return ocsp.CreateResponse(issuer, issuer, ocsp.Response{
		Status: ocsp.Good, SerialNumber: parsed.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(time.Hour),
	}, key)
}
