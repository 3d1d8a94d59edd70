package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/handfast/handfast/bench/internal/report"
)

// known is how many certificates are asked about.
const known = 100_000

// ocsp compares OCSP over kept plain HTTP: responses that are there already, as cfssl has them
// and our responder keeps them, by POST and by GET, beside servers that do nothing but return
// one constant; and requests with a nonce, each of which needs a signature of its own, beside
// bare Go, which signs and looks nothing up. Last with a new connection for each request, which is all that
// `openssl ocsp` knows.
func (s *session) ocsp(ctx context.Context) error {
	ours, err := s.startResponder(ctx, s.startCA)
	if err != nil {
		return err
	}
	finished, err := s.startCFSSL(ctx, ours.asks, ours.requests)
	if err != nil {
		return err
	}
	floors, err := s.startSame(ctx, ours.asks.last())
	if err != nil {
		return err
	}
	posting, getting := []contestant{ours.asks.contestant}, []contestant{ours.gets}
	before, err := s.startResponder(ctx, s.startBase)
	if err != nil {
		return err
	}
	if before != nil {
		posting, getting = append(posting, before.asks.contestant), append(getting, before.gets)
	}
	posting = append(posting, finished)
	for _, f := range floors {
		posting = append(posting, s.asking(f.name, f.pid, f.url, ours.requests).contestant)
		getting = append(getting, s.getting(f.name, f.pid, strings.TrimSuffix(f.url, "/"), ours.requests))
	}
	if err := s.hold(ctx, contest{name: "ocsp", unit: "response", units: s.units(30000), memory: true, rates: true}, posting...); err != nil {
		return err
	}
	if err := s.hold(ctx, contest{name: "ocsp-get", unit: "response", units: s.units(30000), rates: true}, getting...); err != nil {
		return err
	}
	if err := s.ocspNonce(ctx, ours.ca, ours.requests); err != nil {
		return err
	}
	return s.ocspAnew(ctx, ours)
}

// responder is a CA of ours whose OCSP responses were all asked for once.
type responder struct {
	ca       *authority
	requests [][]byte
	asks     asker
	gets     contestant
}

// startResponder returns nil if there is no such CA.
func (s *session) startResponder(ctx context.Context, start func(context.Context) (*authority, error)) (*responder, error) {
	a, err := start(ctx)
	if a == nil || err != nil {
		return nil, err
	}
	s.printf("  issuing %d certificates", s.units(known))
	requests, err := a.statusRequests(ctx, s.clients, s.units(known))
	if err != nil {
		return nil, err
	}
	url, pid := "http://"+a.Public+"/ocsp", a.Process.PID()
	r := &responder{ca: a, requests: requests, asks: s.asking(a.name, pid, url, requests), gets: s.getting(a.name, pid, url, requests)}
	return r, s.fill(ctx, r.asks, len(requests))
}

// ocspAnew has each request come on a connection of its own.
func (s *session) ocspAnew(ctx context.Context, ours *responder) error {
	who := []contestant{s.askingAnew(report.Ours, ours.ca.Process.PID(), "http://"+ours.ca.Public+"/ocsp", ours.requests)}
	if s.installed("openssl") {
		peer, err := s.startOpenSSL(ctx, ours.ca, ours.requests)
		if err != nil {
			return err
		}
		who = append(who, peer)
	}
	return s.hold(ctx, contest{name: "ocsp-anew", unit: "response", units: s.units(2000)}, who...)
}

func (s *session) ocspNonce(ctx context.Context, ours *authority, requests [][]byte) error {
	process, address, err := s.bare(ctx, "ocsp", "", "")
	if err != nil {
		return err
	}
	fresh, err := parallel(8*s.units(5000), func(i int) ([]byte, error) { return withNonce(requests[i%len(requests)]) })
	if err != nil {
		return err
	}
	return s.hold(ctx, contest{name: "ocsp-nonce", unit: "response", units: s.units(5000), rates: true},
		s.asking(report.Ours, ours.Process.PID(), "http://"+ours.Public+"/ocsp", fresh).contestant,
		s.asking("bare-go", process.PID(), "http://"+address+"/", fresh).contestant)
}

// fill has every response asked for once, which is when it is signed.
func (s *session) fill(ctx context.Context, own asker, n int) error {
	r, err := s.turn(ctx, own.contestant, n)
	if err == nil {
		s.printf("  the first time, each response took %.0f us of the server's CPU", r.cpu)
	}
	return err
}

// asking posts the requests in turn and checks that each is answered with a status.
func (s *session) asking(name string, pid int, url string, requests [][]byte) asker {
	header := http.Header{"Content-Type": {"application/ocsp-request"}}
	all := callers(s.clients, nil)
	do := func(ctx context.Context, client, unit int) error {
		if err := all[client].call(ctx, http.MethodPost, url, requests[unit%len(requests)], header); err != nil {
			return err
		}
		return checkStatus(url, all[client].buffer.Bytes())
	}
	return asker{contestant{name: name, pid: pid, do: do}, func() []byte { return all[0].buffer.Bytes() }}
}

// atOnce is how many connections are made at a time: more than fit into openssl's backlog of 32 are
// dropped, and come again after seconds.
const atOnce = 8

// askingAnew is asking with a new connection for each request.
func (s *session) askingAnew(name string, pid int, url string, requests [][]byte) contestant {
	header := http.Header{"Content-Type": {"application/ocsp-request"}}
	all, places := callers(s.clients, nil), make(chan struct{}, atOnce)
	return contestant{name: name, pid: pid, do: func(ctx context.Context, client, unit int) error {
		places <- struct{}{}
		defer func() {
			all[client].http.CloseIdleConnections()
			<-places
		}()
		if err := all[client].call(ctx, http.MethodPost, url, requests[unit%len(requests)], header); err != nil {
			return err
		}
		return checkStatus(url, all[client].buffer.Bytes())
	}}
}

// getting asks by GET.
func (s *session) getting(name string, pid int, url string, requests [][]byte) contestant {
	all := callers(s.clients, nil)
	return contestant{name: name, pid: pid, do: func(ctx context.Context, client, unit int) error {
		path := url + "/" + base64.StdEncoding.EncodeToString(requests[unit%len(requests)])
		if err := all[client].call(ctx, http.MethodGet, path, nil, nil); err != nil {
			return err
		}
		return checkStatus(url, all[client].buffer.Bytes())
	}}
}

// checkStatus refuses what is no successful response, which begins with a SEQUENCE, its
// length, and ENUMERATED 0; nginx's constant is as long as one.
func checkStatus(url string, body []byte) error {
	if len(body) < 100 || !bytes.Contains(body[:8], []byte{0x0a, 1, 0}) && body[0] != 'x' {
		return fmt.Errorf("%s does not answer with a status but %d bytes: %x", url, len(body), body[:min(len(body), 16)])
	}
	return nil
}

// asker is a contestant whose first client's last answer can be read.
type asker struct {
	contestant
	last func() []byte
}
