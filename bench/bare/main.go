// Command bare holds the least programs that do a piece of the work with the standard
// library alone: the physical limit that Handfast is measured against, and the services
// behind its proxy.
//
//	bare MODE LISTEN [TARGET]
//
// Modes with TLS read cert.pem, key.pem and roots.pem from the directory in BENCH_TLS and
// require a client certificate, but for echo.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

// mode serves on a listener until the process ends.
type mode func(listener net.Listener, target string) error

var modes = map[string]mode{
	"http":    serveHTTP,    // plaintext, 1 KB a request
	"stream":  serveStream,  // plaintext, the bulk protocol of package wire
	"static":  serveStatic,  // plaintext, TARGET is a file
	"ocsp":    serveOCSP,    // plaintext, one signature a request
	"same":    serveSame,    // plaintext, TARGET is a file that answers everything
	"echo":    serveEcho,    // HTTPS, answers with the request's body
	"reverse": serveReverse, // HTTPS to httputil.ReverseProxy
	"copy":    serveCopy,    // TLS to io.Copy
	"sign":    serveSign,    // TLS handshake, x509.CreateCertificate, end
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("use: bare MODE LISTEN [TARGET]")
	}
	serve, ok := modes[args[0]]
	if !ok {
		return fmt.Errorf("mode %q is unknown", args[0])
	}
	listener, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	target := ""
	if len(args) > 2 {
		target = args[2]
	}
	fmt.Println("ready")
	return serve(listener, target)
}

// tlsConfig is TLS 1.3 with session tickets off, as Handfast has it.
func tlsConfig(clients tls.ClientAuthType) (*tls.Config, error) {
	dir := os.Getenv("BENCH_TLS")
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, err
	}
	roots, err := os.ReadFile(filepath.Join(dir, "roots.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	return &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: clients,
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}, nil
}
