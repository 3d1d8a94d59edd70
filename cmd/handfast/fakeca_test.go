package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// fakeCA answers the operators' routes out of memory, with the API's real types. What it
// returns is fixed where a test compares tables, and as hostile as the tests need it.
type fakeCA struct {
	issuerRevoked bool
	*pki
	t      testing.TB
	api    *httptest.Server
	public *httptest.Server

	mu        sync.Mutex
	services  []api.Service
	operators []api.Operator
	rows      []api.Certificate
	renewAs   string         // answer renewals with this identity's certificate instead of the asking one's
	lose      int            // how many answers with a certificate get lost on their way
	asked     []string       // the idempotency keys of all requests for certificates
	replays   map[string]any // what they led to

	progressed int // how often it was asked how far a revocation has come
}

func newFakeCA(t testing.TB) *fakeCA {
	t.Helper()
	f := &fakeCA{t: t}
	f.public = httptest.NewServer(http.HandlerFunc(f.servePublic))
	f.pki = newPKI(t, f.public.URL)
	f.api = startTLS(f.routes(), f.serverCertificate(t, "handfast/ca"))
	f.seed()
	return f
}

func startTLS(handler http.Handler, certificate tls.Certificate) *httptest.Server {
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what some tests are about
	s.StartTLS()
	return s
}

func (f *fakeCA) close() {
	f.api.Close()
	f.public.Close()
}

// seed is what the golden tables show.
func (f *fakeCA) seed() {
	ago := func(d time.Duration) time.Time { return f.now.Add(-d - 30*time.Second) }
	f.services = []api.Service{
		{Name: "gateway", ID: f.id("gateway"), DNSNames: []string{"gw.example.org"}, Callers: []string{"*"}, Version: 3, Created: ago(72 * time.Hour), Updated: ago(90 * time.Minute)},
		{Name: "shop", ID: f.id("shop"), Callers: []string{"gateway"}, TTL: api.Duration(30 * time.Minute), Version: 1, Created: ago(time.Hour), Updated: ago(time.Hour)},
		{Name: "vault", ID: f.id("vault"), IPs: []string{"10.0.0.7"}, Profile: "long", Version: 1, Created: ago(time.Hour), Updated: ago(time.Hour)},
	}
	f.operators = []api.Operator{
		{Name: "admin", ID: f.id("handfast/operator/admin"), Role: "admin", Created: ago(72 * time.Hour)},
		{Name: "ci", ID: f.id("handfast/operator/ci"), Role: "issuer", Services: []string{"shop"}, Created: ago(time.Hour)},
	}
	revokedAt := ago(10 * time.Minute)
	f.rows = []api.Certificate{
		f.row("0a01", "gateway", "service", 45*time.Minute, "valid"),
		f.row("0a02", "gateway", "service", 5*time.Minute, "valid"),
		f.row("0a03", "shop", "service", -20*time.Minute, "expired"),
		f.row("0a04", "shop", "service", 30*time.Minute, "revoked"),
		f.row("0a05", "", "operator", 29*24*time.Hour, "valid"),
	}
	f.rows[3].RevokedAt, f.rows[3].Reason = &revokedAt, "keyCompromise"
	f.rows[4].ID = f.id("handfast/operator/admin")
}

func (f *fakeCA) row(serial, service, kind string, left time.Duration, status string) api.Certificate {
	s, err := certs.ParseSerial(serial)
	fatal(f.t, err)
	row := api.Certificate{
		Serial: s, Kind: kind, Service: service, Issuer: "aabb", Profile: "service", Method: "token", Status: status,
		NotBefore: f.now.Add(left - time.Hour), NotAfter: f.now.Add(left + 30*time.Second), IssuedAt: f.now.Add(left - time.Hour - 30*time.Second),
	}
	if service != "" {
		row.ID, row.DNSNames = f.id(service), []string{service + ".example.org"}
	}
	return row
}

func (f *fakeCA) id(path string) certs.ID {
	id, err := f.td.ID(path)
	fatal(f.t, err)
	return id
}

func (f *fakeCA) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, prefix string, h func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			answer, err := any(nil), f.admit(r, prefix)
			if err == nil {
				answer, err = h(r)
			}
			f.answer(w, answer, err)
		})
	}
	const operators, services = "handfast/operator/", ""
	handle("PUT "+api.PathServices+"/{name...}", operators, f.putService)
	handle("GET "+api.PathServices+"/{name...}", operators, f.getService)
	handle("GET "+api.PathServices, operators, f.listServices)
	handle("DELETE "+api.PathServices+"/{name...}", operators, f.deleteService)
	handle("POST "+api.PathApply, operators, f.apply)
	handle("POST "+api.PathTokens, operators, f.token)
	handle("POST "+api.PathCertificates, operators, f.once(f.issue))
	handle("GET "+api.PathCertificates, operators, f.listCertificates)
	handle("GET "+api.PathCertificates+"/{serial}", operators, f.getCertificate)
	handle("POST "+api.PathRevocations, operators, f.revoke)
	handle("GET "+api.PathFeedProgress, operators, f.progress)
	handle("GET "+api.PathAgents, operators, f.listAgents)
	handle("GET "+api.PathOperators, operators, func(*http.Request) (any, error) { return api.OperatorList{Operators: f.operators}, nil })
	handle("POST "+api.PathOperators, operators, f.once(f.addOperator))
	handle("DELETE "+api.PathOperators+"/{name}", operators, f.deleteOperator)
	handle("POST "+api.PathOperatorRenew, operators, f.once(f.renew))
	handle("GET "+api.PathStatus, operators, f.status)
	handle("POST "+api.PathRenew, services, f.once(f.renew))
	handle("POST "+api.PathRekey, "anyone", f.once(f.rekey))
	return mux
}

func (f *fakeCA) admit(r *http.Request, prefix string) error {
	if prefix == "anyone" {
		return nil
	}
	if len(r.TLS.PeerCertificates) == 0 {
		return &api.Error{Code: api.CodeUnauthenticated, Message: "no client certificate was shown"}
	}
	bundle, err := certs.NewBundle(f.td, []*x509.Certificate{f.root})
	fatal(f.t, err)
	if _, err := certs.VerifyChain(r.TLS.PeerCertificates, bundle, x509.ExtKeyUsageClientAuth, time.Now()); err != nil {
		return &api.Error{Code: api.CodeUnauthenticated, Message: err.Error()}
	}
	id := peerID(r)
	if !strings.HasPrefix(id.Path(), prefix) {
		return &api.Error{Code: api.CodeForbidden, Message: id.String() + " is no operator"}
	}
	if id.Path() == "handfast/operator/reader" && r.Method != http.MethodGet {
		return &api.Error{Code: api.CodeForbidden, Message: "reader may not do this", Hint: "ask an admin"}
	}
	return nil
}

func peerID(r *http.Request) certs.ID {
	id, _ := certs.IDFromCertificate(r.TLS.PeerCertificates[0])
	return id
}

func (f *fakeCA) answer(w http.ResponseWriter, answer any, err error) {
	w.Header().Set(api.HeaderRequestID, "req-42")
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		e, ok := errors.AsType[*api.Error](err)
		if !ok {
			panic(err) // the fake gives no others
		}
		w.WriteHeader(e.Code.HTTPStatus())
		answer = api.ErrorBody{Error: e}
	} else if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		f.t.Log(err) // the client has gone
	}
}

func decode[T any](f *fakeCA, r *http.Request) (body T) {
	data, err := io.ReadAll(r.Body)
	fatal(f.t, err)
	fatal(f.t, api.DecodeStrict(data, &body))
	return body
}

func (f *fakeCA) find(name string) int {
	return slices.IndexFunc(f.services, func(s api.Service) bool { return s.Name == name })
}

func (f *fakeCA) putService(r *http.Request) (any, error) {
	service := decode[api.Service](f, r)
	if service.Name == "hostile" {
		return nil, &api.Error{Code: api.CodeRefused, Message: "no\x1b[2Jno", Hint: "rename\nit"}
	}
	at := f.find(service.Name)
	if at >= 0 && r.Header.Get("If-None-Match") == "*" {
		return nil, &api.Error{Code: api.CodeConflict, Message: "service " + service.Name + " exists"}
	}
	service.ID, service.Version, service.Created, service.Updated = f.id(service.Name), 1, f.now, f.now
	if at >= 0 {
		service.Version = f.services[at].Version + 1
		f.services[at] = service
		return service, nil
	}
	f.services = append(f.services, service)
	return service, nil
}

func (f *fakeCA) getService(r *http.Request) (any, error) {
	if at := f.find(r.PathValue("name")); at >= 0 {
		return f.services[at], nil
	}
	return nil, notFound("service " + r.PathValue("name"))
}

func notFound(what string) error {
	return &api.Error{Code: api.CodeNotFound, Message: what + " is not registered", Hint: "handfast service list"}
}

// listServices answers one a page, so that every listing has to go through pages.
func (f *fakeCA) listServices(r *http.Request) (any, error) {
	var matching []api.Service
	for _, s := range f.services {
		if strings.Contains(s.Name, r.FormValue("q")) {
			matching = append(matching, s)
		}
	}
	at, _ := strconv.Atoi(r.FormValue("cursor"))
	if at >= len(matching) {
		return api.ServiceList{}, nil
	}
	list := api.ServiceList{Services: matching[at : at+1]}
	if at+1 < len(matching) {
		list.Next = strconv.Itoa(at + 1)
	}
	return list, nil
}

func (f *fakeCA) deleteService(r *http.Request) (any, error) {
	at := f.find(r.PathValue("name"))
	if at < 0 {
		return nil, notFound("service " + r.PathValue("name"))
	}
	f.services = slices.Delete(f.services, at, at+1)
	return nil, nil
}

func (f *fakeCA) apply(r *http.Request) (any, error) {
	body := decode[api.ApplyRequest](f, r)
	result := api.ApplyResult{DryRun: body.DryRun}
	named := map[string]bool{}
	for _, service := range body.Services {
		named[service.Name] = true
		at := f.find(service.Name)
		switch {
		case at < 0:
			result.Created = append(result.Created, service.Name)
		case slices.Equal(f.services[at].Callers, service.Callers):
			result.Unchanged = append(result.Unchanged, service.Name)
		default:
			result.Updated = append(result.Updated, service.Name)
		}
	}
	for _, service := range f.services {
		if body.Prune && !named[service.Name] {
			result.Removed = append(result.Removed, service.Name)
		}
	}
	return result, nil
}

func (f *fakeCA) token(r *http.Request) (any, error) {
	body := decode[api.TokenRequest](f, r)
	if f.find(body.Service) < 0 {
		return nil, notFound("service " + body.Service)
	}
	return api.Token{Token: "header.secret-" + time.Duration(body.TTL).String() + ".mac", Service: body.Service, ExpiresAt: f.now.Add(10 * time.Minute)}, nil
}
