package main

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/internal/harness"
)

// floor is a server that returns one constant.
type floor struct {
	name, url string
	pid       int
}

// startSame starts servers that answer everything with what our responder said once.
func (s *session) startSame(ctx context.Context, answer []byte) ([]floor, error) {
	file := s.path("answer")
	if err := os.WriteFile(file, answer, 0o600); err != nil {
		return nil, err
	}
	process, address, err := s.bare(ctx, "same", file, "")
	if err != nil {
		return nil, err
	}
	floors := []floor{{name: "bare-go", url: "http://" + address + "/", pid: process.PID()}}
	if address, err = harness.FreeAddress(); err != nil {
		return nil, err
	}
	if process, err = s.start(ctx, nil, "ready", s.program("fasthttp"), address, file); err != nil {
		return nil, err
	}
	floors = append(floors, floor{name: "fasthttp", url: "http://" + address + "/", pid: process.PID()})
	if s.installed("nginx") {
		if process, address, err = s.startNginx(ctx, "same", strings.Repeat("x", len(answer)), ""); err != nil {
			return nil, err
		}
		floors = append(floors, floor{name: "nginx", url: "http://" + address + "/", pid: process.PID()})
	}
	return floors, nil
}

// startCFSSL has cfssl serve what our responder has answered.
func (s *session) startCFSSL(ctx context.Context, own asker, requests [][]byte) (contestant, error) {
	var lines []byte
	for i := range requests {
		if err := own.do(ctx, 0, i); err != nil {
			return contestant{}, err
		}
		lines = append(base64.StdEncoding.AppendEncode(lines, own.last()), '\n')
	}
	file := s.path("responses")
	if err := os.WriteFile(file, lines, 0o600); err != nil {
		return contestant{}, err
	}
	address, err := harness.FreeAddress()
	if err != nil {
		return contestant{}, err
	}
	process, err := s.start(ctx, nil, "ready", s.program("cfssl"), address, file)
	if err != nil {
		return contestant{}, err
	}
	return s.asking("cfssl", process.PID(), "http://"+address+"/", requests).contestant, nil
}

// startOpenSSL has `openssl ocsp` answer for the same serials. It signs each answer with a key that it
// is given, P-256, and takes one request a connection, one after the other.
func (s *session) startOpenSSL(ctx context.Context, ours *authority, requests [][]byte) (contestant, error) {
	dir := s.path("openssl")
	if _, err := writeSelfSigned(dir); err != nil {
		return contestant{}, err
	}
	var index []byte
	for i, der := range requests {
		request, err := ocsp.ParseRequest(der)
		if err != nil {
			return contestant{}, err
		}
		index = fmt.Appendf(index, "V\t%s\t\t%X\tunknown\t/CN=%d\n", time.Now().Add(time.Hour).UTC().Format("060102150405Z"), request.SerialNumber.Bytes(), i)
	}
	issuer, err := ours.issuer(ctx)
	if err != nil {
		return contestant{}, err
	}
	client := newCaller(nil)
	if err := client.call(ctx, http.MethodGet, "http://"+ours.Public+"/ca/"+issuer+".crt", nil, nil); err != nil {
		return contestant{}, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.buffer.Bytes()})
	for name, data := range map[string][]byte{"index.txt": index, "issuer.pem": certificate} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return contestant{}, err
		}
	}
	address, err := harness.FreeAddress()
	if err != nil {
		return contestant{}, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return contestant{}, err
	}
	// To look whether it listens would end it: a connection without a request has it wait for ever.
	process, err := s.start(ctx, nil, "waiting for OCSP client connections", "openssl", "ocsp", "-port", port, "-index", filepath.Join(dir, "index.txt"), "-CA", filepath.Join(dir, "issuer.pem"),
		"-rsigner", filepath.Join(dir, "cert.pem"), "-rkey", filepath.Join(dir, "key.pem"), "-ndays", "1", "-ignore_err")
	if err != nil {
		return contestant{}, err
	}
	return s.askingAnew("openssl", process.PID(), "http://"+address+"/", requests), nil
}
