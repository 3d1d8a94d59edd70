// Package peek looks at what a TLS server shows, without trusting it and without a
// certificate of its own.
package peek

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// Server is what a server showed.
type Server struct {
	State        tls.ConnectionState
	Chain        []*x509.Certificate
	ClientWanted bool // it asked for a client certificate
}

// errSeen ends the handshake when everything worth seeing has been seen.
var errSeen = errors.New("seen enough")

// Dial connects to address (host:port) and returns what the server showed. Nothing is
// verified and nothing is sent over the connection: the handshake is given up before
// its last message, so the server never counts it as a client's visit. TLS 1.2 is the
// lowest version, since this is a diagnosis and not a use.
func Dial(ctx context.Context, address string, timeout time.Duration) (*Server, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%q is not HOST:PORT", address)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is written that could be lost
	return handshake(ctx, conn, host)
}

func handshake(ctx context.Context, conn net.Conn, host string) (*Server, error) {
	s := &Server{}
	config := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         host,
		NextProtos:         []string{"h2", "http/1.1"},
		InsecureSkipVerify: true, //nolint:gosec // looking is the purpose; nothing is trusted and nothing sent
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			s.ClientWanted = true
			return nil, errSeen
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			s.State, s.Chain = state, state.PeerCertificates
			return nil
		},
	}
	if net.ParseIP(host) != nil {
		config.ServerName = "" // an address is no name (RFC 6066, section 3)
	}
	err := tls.Client(conn, config).HandshakeContext(ctx)
	if len(s.Chain) == 0 {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return s, nil
}
