package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"

	"github.com/handfast/handfast/internal/harness"
)

// startCFSSLSigner starts cfssl's signer behind its own API. It stores nothing.
func (s *session) startCFSSLSigner(ctx context.Context) (contestant, error) {
	dir := s.path("cfssl")
	root, err := writeSelfSigned(dir)
	if err != nil {
		return contestant{}, err
	}
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails
	address, err := harness.FreeAddress()
	if err != nil {
		return contestant{}, err
	}
	process, err := s.start(ctx, []string{"BENCH_TLS=" + dir}, "ready", s.program("cfsslsign"), address, hex.EncodeToString(key))
	if err != nil {
		return contestant{}, err
	}
	url := "https://" + address + "/"
	all := callers(s.clients, func(int) *tls.Config { return clientTLS(root) })
	var bodies [][]byte
	return contestant{
		name: "cfssl", pid: process.PID(),
		prepare: func(units int) (err error) {
			bodies, err = prepare(units, func(r request) ([]byte, error) { return cfsslRequest(r, key) })
			return err
		},
		do: func(ctx context.Context, client, unit int) error {
			return all[client].call(ctx, http.MethodPost, url, bodies[unit], http.Header{"Content-Type": {"application/json"}})
		},
	}, nil
}

// cfsslRequest asks for the service's names, authenticated as cfssl's "standard" provider wants it.
func cfsslRequest(r request, key []byte) ([]byte, error) {
	inner, err := json.Marshal(map[string]any{
		"certificate_request": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: r.der})),
		"hosts":               []string{serviceID, serviceDNS},
	})
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(inner) //nolint:errcheck // never fails
	return json.Marshal(map[string][]byte{"token": mac.Sum(nil), "request": inner})
}
