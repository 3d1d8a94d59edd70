// Command cfsslsign issues certificates with cfssl's signer and API, without a database: nothing is written
// before the answer, and a token is no one-time token but an HMAC over the request.
//
//	cfsslsign LISTEN KEY
//
// KEY authenticates requests, in hexadecimal. BENCH_TLS is a directory with the server's cert.pem and key.pem.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cloudflare/cfssl/api/signhandler"
	"github.com/cloudflare/cfssl/config"
	"github.com/cloudflare/cfssl/log"
	"github.com/cloudflare/cfssl/signer"
	"github.com/cloudflare/cfssl/signer/local"
)

const policy = `{"signing": {"default": {"auth_key": "bench", "expiry": "1h", "usages": ["digital signature", "server auth", "client auth"]}},
  "auth_keys": {"bench": {"type": "standard", "key": %q}}}`

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "use: cfsslsign LISTEN KEY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "cfsslsign:", err)
		os.Exit(1)
	}
}

func run(listen, key string) error {
	log.Level = log.LevelWarning // it would log every certificate
	settings, err := config.LoadConfig(fmt.Appendf(nil, policy, key))
	if err != nil {
		return err
	}
	issuer, issuerKey, err := newIssuer()
	if err != nil {
		return err
	}
	own, err := local.NewSigner(issuerKey, issuer, signer.DefaultSigAlgo(issuerKey), settings.Signing)
	if err != nil {
		return err
	}
	handler, err := signhandler.NewAuthHandlerFromSigner(own)
	if err != nil {
		return err
	}
	dir := os.Getenv("BENCH_TLS")
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return http.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}), handler)
}

func newIssuer() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cfssl"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	issuer, err := x509.ParseCertificate(der)
	return issuer, key, err
}
