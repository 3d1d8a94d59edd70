package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"

	"github.com/handfast/handfast/internal/harness"
)

// A service is one of the two small programs of the demo: plain HTTP on loopback, no
// line of authentication in it. It greets its caller by the identity that its agent vouches for.
type service struct {
	name    string
	address string
	server  *http.Server
}

// The URI element of X-Forwarded-Client-Cert.
var callerURI = regexp.MustCompile(`URI="?(spiffe://[^;,"]+)`)

func startService(name string) (*service, error) {
	address, err := harness.FreeAddress()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &service{name: name, address: address, server: &http.Server{Handler: greet(name)}}
	go func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // the listener was ours and open
		}
	}()
	return s, nil
}

func greet(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := "somebody"
		if uri := callerURI.FindStringSubmatch(r.Header.Get("X-Forwarded-Client-Cert")); uri != nil {
			caller = uri[1]
		}
		fmt.Fprintf(w, "this is %s; you are %s\n", name, caller) //nolint:errcheck // the caller may have gone
	})
}

func (s *service) close() error { return s.server.Close() }
