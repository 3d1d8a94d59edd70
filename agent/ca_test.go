package agent

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

// httpsCA serves a fakeCA's answers over real TLS, as the CA would.
func httpsCA(t *testing.T, ca *fakeCA, server *tls.Certificate) *httptest.Server {
	t.Helper()
	answer := func(w http.ResponseWriter, body any, err error) {
		var refused *api.Error
		w.Header().Set("Content-Type", "application/json")
		if errors.As(err, &refused) {
			w.WriteHeader(refused.Code.HTTPStatus())
			json.NewEncoder(w).Encode(api.ErrorBody{Error: refused})
			return
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(body)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+api.PathEnroll, func(w http.ResponseWriter, r *http.Request) {
		var request api.EnrollRequest
		json.NewDecoder(r.Body).Decode(&request)
		issued, err := (&fakeConn{ca: ca}).Enroll(r.Context(), &request, r.Header.Get(api.HeaderIdempotencyKey))
		answer(w, issued, err)
	})
	mux.HandleFunc("GET "+api.PathAgentState, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			answer(w, nil, &api.Error{Code: api.CodeUnauthenticated, Message: "no certificate"})
			return
		}
		state, etag, err := (&fakeConn{ca: ca}).AgentState(r.Context(), r.Header.Get("If-None-Match"))
		w.Header().Set("ETag", etag)
		if err == nil && state == nil {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		answer(w, state, err)
	})
	mux.HandleFunc("GET "+api.PathCRL, func(w http.ResponseWriter, r *http.Request) {
		der, _, _ := (&fakeConn{ca: ca}).CRL(r.Context(), "", "")
		w.Header().Set("Content-Type", "application/pkix-crl")
		w.Write(der)
	})
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*server}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1", api.FeedProtocol}}
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		api.FeedProtocol: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { serveFeed(conn, ca) },
	}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// serverCertificate is the CA server's, whose chain holds the root for the fingerprint.
func serverCertificate(pki *testpki.PKI, path string) *tls.Certificate {
	cert := pki.Certificate(pki.ID(path), time.Hour)
	cert.Certificate = append(cert.Certificate, pki.Root.Raw)
	return cert
}

func TestEnrolsAndWatchesOverRealTLS(t *testing.T) {
	ca, log := newFakeCA(t), &logtest.Buffer{}
	server := httpsCA(t, ca, serverCertificate(ca.pki, "handfast/ca"))
	cfg := ca.config(log)
	cfg.Connect, cfg.CA = nil, server.URL
	a, stop := start(t, cfg)
	defer stop()
	if err := a.WaitReady(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	changed := a.Changed()
	ca.do(func() { ca.callers = nil })
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatalf("the change did not arrive\n%s", log)
	}
	victim := ca.pki.Certificate(ca.pki.ID("victim"), time.Hour)
	sequence := ca.feed.Revoke(victim.Leaf)
	waitFor(t, func() bool { return judge(t, a, victim) == certs.CauseRevoked && ca.acknowledged() == sequence })
	if feed := a.Status().Feed; feed.Mode != "stream" || feed.Enforced != sequence {
		t.Errorf("feed %+v", feed)
	}
	stop()
}

func TestOnlyTheCAOfTheTokenIsTalkedTo(t *testing.T) {
	tests := []struct {
		name   string
		server func(own, foreign *testpki.PKI) *tls.Certificate
		want   string
	}{
		{"another root", func(_, foreign *testpki.PKI) *tls.Certificate { return serverCertificate(foreign, "handfast/ca") }, "fingerprint"},
		{"a service of the same root", func(own, _ *testpki.PKI) *tls.Certificate { return serverCertificate(own, "web") }, "not the CA"},
		{"another root that carries ours along", func(own, foreign *testpki.PKI) *tls.Certificate {
			cert := serverCertificate(foreign, "handfast/ca")
			cert.Certificate = append(cert.Certificate, own.Root.Raw)
			return cert
		}, "unknown_authority"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ca, log := newFakeCA(t), &logtest.Buffer{}
			server := httpsCA(t, ca, tt.server(ca.pki, testpki.New(t, "test.example", nil)))
			cfg := ca.config(log)
			cfg.Connect, cfg.CA = nil, server.URL
			a, stop := start(t, cfg)
			defer stop()
			waitFor(t, func() bool { return a.Status().LastAttempt != nil })
			if got := a.Status().LastAttempt.Error; !strings.Contains(got, tt.want) {
				t.Errorf("error %q; want %q in it", got, tt.want)
			}
			if n := len(ca.seen("enrol")); n != 0 {
				t.Errorf("the token went to a server that is not the CA")
			}
		})
	}
}

// After enrolment the roots decide, and revocation when it is known.
func TestCAIsVerifiedAgainstTheBundle(t *testing.T) {
	ca, foreign := newFakeCA(t), testpki.New(t, "test.example", nil)
	revoked := ca.pki.Certificate(ca.pki.ID("handfast/ca"), time.Hour)
	a := &Agent{now: time.Now}
	raw := issuedBy(t, ca.pki, "web")
	cred, err := raw.parse()
	if err != nil {
		t.Fatal(err)
	}
	a.cred = cred
	tests := []struct {
		name    string
		cert    *tls.Certificate
		crl     []byte
		staple  []byte
		refused bool
	}{
		{"the CA, revocation unknown", serverCertificate(ca.pki, "handfast/ca"), nil, nil, false},
		{"the CA, not revoked", serverCertificate(ca.pki, "handfast/ca"), ca.pki.CRL(revoked.Leaf), nil, false},
		{"the CA, revoked", revoked, ca.pki.CRL(revoked.Leaf), nil, true},
		{"the CA, stapled", revoked, nil, ca.pki.Staple(revoked.Leaf, ocsp.Good, time.Hour), false},
		{"the CA, revoked by its staple", revoked, nil, ca.pki.Staple(revoked.Leaf, ocsp.Revoked, time.Hour), true},
		{"the CA, revoked by another's staple", revoked, nil, foreign.Staple(revoked.Leaf, ocsp.Revoked, time.Hour), false},
		{"the CA, with a staple of no use", revoked, nil, []byte{0x30, 3, 0x0a, 1, 3}, false},
		{"a service", serverCertificate(ca.pki, "web"), nil, nil, true},
		{"an operator", serverCertificate(ca.pki, "handfast/operator/eve"), nil, nil, true},
		{"another root", serverCertificate(foreign, "handfast/ca"), nil, nil, true},
		{"expired", ca.pki.Certificate(ca.pki.ID("handfast/ca"), time.Second), nil, nil, true},
	}
	for _, tt := range tests {
		a.rules = nil
		if tt.crl != nil {
			revocation, err := certs.NewRevocation([][]byte{tt.crl})
			if err != nil {
				t.Fatal(err)
			}
			a.rules = &rules{revocation: revocation}
		}
		chain, err := parseCertificates("chain", tt.cert.Certificate, maxChain)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.verifyCA(ca.pki.TD, chain, tt.staple); (err != nil) != tt.refused {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if a.verifyCA(ca.pki.TD, nil, nil) == nil {
		t.Error("no certificate at all passes")
	}
}

func TestForeignTokensNeedAddressAndFingerprint(t *testing.T) {
	ca := newFakeCA(t)
	const foreign = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"
	fingerprint := certs.Fingerprint(ca.pki.Root)
	tests := []struct {
		name, token, ca, fingerprint, want string
	}{
		{"foreign, nothing else known", foreign, "", "", "configuration"},
		{"foreign, fingerprint missing", foreign, "https://ca:1", "", "configuration"},
		{"foreign, all known", foreign, "https://ca:1", strings.ToUpper(fingerprint), ""},
		{"native, another fingerprint configured", ca.token("x"), "", strings.Repeat("ab", 32), "another CA"},
		{"native, address overridden", ca.token("x"), "https://other:1", "", ""},
		{"garbage", "garbage", "https://ca:1", fingerprint, "JWT"},
	}
	for _, tt := range tests {
		a := &Agent{ca: tt.ca, fingerprint: strings.ToLower(tt.fingerprint)}
		plate, err := a.readToken(tt.token)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want == "" && (plate.fingerprint != fingerprint || tt.ca != "" && plate.address != tt.ca):
			t.Errorf("%s: %+v", tt.name, plate)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: err = %v; want %q in it", tt.name, err, tt.want)
		}
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to that")
		}
		time.Sleep(2 * time.Millisecond)
	}
}
