package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// with returns snap under another own certificate and its staple, nil for none.
func (s *Snapshot) with(own *tls.Certificate, staple []byte) *Snapshot {
	changed, certificate := *s, *own
	certificate.OCSPStaple = staple
	changed.Certificate = &certificate
	return &changed
}

// Staples are checked by both sides: what a server staples by its clients, and, as crypto/tls asks
// every client in TLS 1.3, what a client staples by its servers.
func TestStaplesAreChecked(t *testing.T) {
	w := newWorld(t, time.Now().Truncate(time.Second))
	const id = "spiffe://prod.test/web"
	plain, must, sibling := w.issuer.leaf(id), w.issuer.leaf(id, mustStaple), w.issuer.leaf(id)
	responder := w.issuer.responder()
	revoked := func(p *stapleParts) { p.certStatus = revokedStatus(w.now, KeyCompromise) }
	stale := func(p *stapleParts) {
		p.thisUpdate, p.nextUpdate = tlvTime(w.now.Add(-2*time.Hour)), tlv(tagContext0, tlvTime(w.now.Add(-time.Hour)))
	}
	staple := func(own *tls.Certificate, changes ...func(*stapleParts)) []byte {
		return w.issuer.staple(responder, own.Leaf, changes...)
	}
	verifier := w.snapshot(t, "api", "*")
	distrusting := *verifier
	distrusting.Revocation = w.revocation(t, 2, responder.Leaf)
	for name, test := range map[string]struct {
		own      *tls.Certificate
		staple   []byte
		verifier *Snapshot
		cause    Cause
	}{
		"none":                                {plain, nil, verifier, ""},
		"good":                                {plain, staple(plain), verifier, ""},
		"revoked, and no CRL says so yet":     {plain, staple(plain, revoked), verifier, CauseRevoked},
		"another certificate's":               {plain, staple(sibling), verifier, CauseStapleInvalid},
		"malformed":                           {plain, []byte{0x30, 3, tagEnumerated, 1, 3}, verifier, CauseStapleInvalid},
		"stale":                               {plain, staple(plain, stale), verifier, CauseStapleInvalid},
		"demanded and there":                  {must, staple(must), verifier, ""},
		"demanded and not there":              {must, nil, verifier, CauseStapleMissing},
		"demanded and stale":                  {must, staple(must, stale), verifier, CauseStapleInvalid},
		"demanded and another certificate's":  {must, staple(plain), verifier, CauseStapleInvalid},
		"of a responder that the CRL revokes": {plain, staple(plain), &distrusting, CauseStapleInvalid},
	} {
		own := *test.own
		own.OCSPStaple = test.staple
		holder := fixed{w.snapshot(t, "web", "*"), nil}
		judge := fixed{test.verifier, nil}

		t.Run("server/"+name, func(t *testing.T) {
			server := ServerConfig(holder, AllowTrustDomain(w.td))
			server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &own, nil }
			_, atClient, state := shake(t, server, ClientConfig(judge, mustID(t, id)))
			if causeOf(t, atClient) != test.cause {
				t.Errorf("the client says %v, want %q", atClient, test.cause)
			}
			if test.cause == "" && !bytes.Equal(state.OCSPResponse, test.staple) {
				t.Errorf("the client saw %x", state.OCSPResponse)
			}
		})
		t.Run("client/"+name, func(t *testing.T) {
			server := ServerConfig(judge, AllowTrustDomain(w.td))
			var seen []byte
			verify := server.VerifyConnection
			server.VerifyConnection = func(cs tls.ConnectionState) error { seen = cs.OCSPResponse; return verify(cs) }
			client := ClientConfig(holder, test.verifier.ID)
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
			atServer, _, _ := shake(t, server, client)
			if causeOf(t, atServer) != test.cause || !bytes.Equal(seen, test.staple) {
				t.Errorf("the server says %v, want %q, and saw %d octets", atServer, test.cause, len(seen))
			}
		})
	}
}

// One's own staple is shown while it is valid and left out after; a certificate that
// demands one is not shown without, and the log says so here and not only at the peers.
func TestOwnStapleIsShownWhileValid(t *testing.T) {
	w := newWorld(t, time.Now().Truncate(time.Second))
	responder := w.issuer.responder()
	base := w.snapshot(t, "web")
	plain, must := w.issuer.leaf("spiffe://prod.test/web"), w.issuer.leaf("spiffe://prod.test/web", mustStaple)
	for name, test := range map[string]struct {
		own    *tls.Certificate
		staple []byte
		later  time.Duration
		shown  bool // the staple
		cause  Cause
	}{
		"valid":                    {plain, w.issuer.staple(responder, plain.Leaf), 0, true, ""},
		"at its end":               {plain, w.issuer.staple(responder, plain.Leaf), time.Hour, true, ""},
		"over":                     {plain, w.issuer.staple(responder, plain.Leaf), time.Hour + time.Second, false, ""},
		"none":                     {plain, nil, 0, false, ""},
		"demanded":                 {must, w.issuer.staple(responder, must.Leaf), 0, true, ""},
		"demanded and over":        {must, w.issuer.staple(responder, must.Leaf), time.Hour + time.Second, false, CauseOwnCertificate},
		"demanded and never there": {must, nil, 0, false, CauseOwnCertificate},
	} {
		long := *test.own.Leaf // so that only the staple ends
		long.NotAfter = w.now.Add(3 * time.Hour)
		own := *test.own
		own.Leaf = &long
		got, refusal := base.with(&own, test.staple).stapled(w.now.Add(test.later))
		switch {
		case (refusal == nil) != (test.cause == "") || refusal != nil && refusal.Cause != test.cause:
			t.Errorf("%s: %v", name, refusal)
		case refusal == nil && (got.OCSPStaple != nil) != test.shown:
			t.Errorf("%s: shown with a staple of %d octets", name, len(got.OCSPStaple))
		}
	}
	server := ServerConfig(fixed{base.with(must, nil), nil}, AllowTrustDomain(w.td))
	atServer, _, _ := shake(t, server, ClientConfig(fixed{base, nil}, base.ID))
	if causeOf(t, atServer) != CauseOwnCertificate {
		t.Errorf("%v", atServer)
	}
}

// A staple is about the handshake: a connection outlives it, in Peer.Check as in Enforce.
func TestAgedStapleBreaksNoConnection(t *testing.T) {
	w := newWorld(t, time.Now().Truncate(time.Second))
	web := w.issuer.leaf("spiffe://prod.test/web", mustStaple)
	api := fixed{w.snapshot(t, "api", "*"), nil}
	chain := chainOf(t, web)
	peer, err := Verify(chain, api.snap, x509.ExtKeyUsageClientAuth, w.now)
	if err != nil {
		t.Fatal(err)
	}
	later := w.now.Add(50 * time.Minute)
	aged := w.issuer.staple(w.issuer.responder(), web.Leaf, func(p *stapleParts) {
		p.nextUpdate = tlv(tagContext0, tlvTime(w.now.Add(time.Minute)))
	})
	if refusal := checkStapled(aged, peer.Chain, api.snap.Revocation, nil, later); refusal == nil || refusal.Cause != CauseStapleInvalid {
		t.Fatalf("the staple has not aged, so this test shows nothing: %v", refusal)
	}
	if err := peer.Check(api.snap, later); err != nil {
		t.Errorf("Check: %v", err)
	}
	handler := Enforce(api, AllowPolicy(api), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), WithClock(func() time.Time { return later }))
	request, answer := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
	request.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: chain, OCSPResponse: aged}
	if handler.ServeHTTP(answer, request); answer.Code != http.StatusOK {
		t.Errorf("Enforce: %d", answer.Code)
	}
}

// A session that is resumed carries the staple of its first handshake, which ages.
func TestResumedSessionNeedsAFreshStaple(t *testing.T) {
	w := newWorld(t, time.Now().Truncate(time.Second))
	now := w.now
	clock := WithClock(func() time.Time { return now })
	own := w.issuer.leaf("spiffe://prod.test/api")
	api := w.snapshot(t, "api", "*").with(own, w.issuer.staple(w.issuer.responder(), own.Leaf, func(p *stapleParts) {
		p.nextUpdate = tlv(tagContext0, tlvTime(w.now.Add(time.Minute)))
	}))
	server := ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td), clock)
	client := ClientConfig(fixed{w.snapshot(t, "web"), nil}, api.ID, clock)
	server.SessionTicketsDisabled, client.SessionTicketsDisabled = false, false
	server.SetSessionTicketKeys([][32]byte{{1}})
	client.ServerName, client.ClientSessionCache = "api", tls.NewLRUClientSessionCache(4)
	for _, resumed := range []bool{false, true} {
		if _, atClient, state := shake(t, server, client); atClient != nil || state.DidResume != resumed {
			t.Fatalf("resumed %t: %v", state.DidResume, atClient)
		}
	}
	now = now.Add(7 * time.Minute)
	if _, atClient, _ := shake(t, server, client); causeOf(t, atClient) != CauseStapleInvalid {
		t.Errorf("%v", atClient)
	}
}

// The staple travels with the certificate, over the socket and in the files, and never with another one.
func TestStapleTravels(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, time.Now())
		own, sibling := w.issuer.leaf("spiffe://prod.test/api"), w.issuer.leaf("spiffe://prod.test/api")
		staple, foreign := w.issuer.staple(w.issuer.responder(), own.Leaf), w.issuer.staple(w.issuer.responder(), sibling.Leaf)
		snap := w.snapshot(t, "api", "*").with(own, staple)
		wire, err := EncodeSnapshot(snap)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeSnapshot(wire); err != nil || !bytes.Equal(got.Certificate.OCSPStaple, staple) {
			t.Errorf("over the socket: %v", err)
		}
		if wire, err = EncodeSnapshot(snap.with(own, foreign)); err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeSnapshot(wire); err == nil {
			t.Error("another certificate's staple came over the socket")
		}
		for i, test := range []struct{ file, want []byte }{{staple, staple}, {foreign, nil}, {staple[:20], nil}, {nil, nil}} {
			place := filepath.Join(dir, string(rune('a'+i)))
			set := files(t, snap)
			if test.file != nil {
				set[StapleFile] = test.file
			}
			writeFiles(t, place, set)
			src := FileSource(place)
			defer src.Close()
			if err := src.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := src.Current()
			if err != nil || !bytes.Equal(got.Certificate.OCSPStaple, test.want) || (src.Err() == nil) != (len(test.file) == len(test.want)) {
				t.Errorf("file %d: %v, %v", i, err, src.Err())
			}
			if i > 0 {
				continue
			}
			if err := os.Remove(filepath.Join(place, StapleFile)); err != nil { // without a generation's name the files are watched
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			if got, err := src.Current(); err != nil || got.Certificate.OCSPStaple != nil {
				t.Errorf("after the file was removed: %v", err)
			}
		}
	})
}

// What is remembered of a response is its signatures, and of these bytes under this issuer: its age,
// its responder's and what it is about are judged each time.
func TestRememberedStapleIsStillJudged(t *testing.T) {
	w := newWorld(t, time.Now().Truncate(time.Second))
	other := w.root.intermediate("issuer") // of the same name, with another key
	leaf, sibling := w.issuer.leaf("spiffe://prod.test/web").Leaf, w.issuer.leaf("spiffe://prod.test/web").Leaf
	long := func(p *stapleParts) { p.nextUpdate = tlv(tagContext0, tlvTime(w.now.Add(9*time.Hour))) }
	staple := w.issuer.staple(w.issuer.responder(), leaf, long) // the responder's certificate ends in an hour
	spoilt := bytes.Clone(staple)
	spoilt[len(spoilt)-1] ^= 1
	memo := new(stapleMemo)
	for name, test := range map[string]struct {
		staple       []byte
		leaf, issuer *x509.Certificate
		later        time.Duration
		good         bool
	}{
		"the same":                  {staple, leaf, w.issuer.cert, time.Minute, true},
		"for another":               {staple, sibling, w.issuer.cert, 0, false},
		"under another issuer":      {staple, leaf, other.cert, 0, false},
		"one bit changed":           {spoilt, leaf, w.issuer.cert, 0, false},
		"after the responder's end": {staple, leaf, w.issuer.cert, 2 * time.Hour, false},
		"after its own end":         {staple, leaf, w.issuer.cert, 10 * time.Hour, false},
	} {
		if _, _, refusal := checkStaple(staple, leaf, w.issuer.cert, memo, w.now); refusal != nil {
			t.Fatal(refusal)
		}
		if _, _, refusal := checkStaple(test.staple, test.leaf, test.issuer, memo, w.now.Add(test.later)); (refusal == nil) != test.good {
			t.Errorf("%s: %v", name, refusal)
		}
	}
	if len(memo.verified) != 1 {
		t.Errorf("%d responses are remembered; one was verified", len(memo.verified))
	}
	for i := range maxStapleMemo {
		memo.add(stapleKey([]byte{byte(i), byte(i >> 8)}, leaf), nil)
	}
	if len(memo.verified) > maxStapleMemo {
		t.Errorf("%d responses are remembered", len(memo.verified))
	}
}
