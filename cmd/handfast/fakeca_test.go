package main

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
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

	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// fakeCA answers the operators' routes out of memory, with the API's real types. What it
// returns is fixed where a test compares tables, and as hostile as the tests need it.
type fakeCA struct {
	*pki
	t      testing.TB
	api    *httptest.Server
	public *httptest.Server

	mu        sync.Mutex
	services  []api.Service
	operators []api.Operator
	rows      []api.Certificate
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
	handle("POST "+api.PathCertificates, operators, f.issue)
	handle("GET "+api.PathCertificates, operators, f.listCertificates)
	handle("GET "+api.PathCertificates+"/{serial}", operators, f.getCertificate)
	handle("POST "+api.PathRevocations, operators, f.revoke)
	handle("GET "+api.PathOperators, operators, func(*http.Request) (any, error) { return api.OperatorList{Operators: f.operators}, nil })
	handle("POST "+api.PathOperators, operators, f.addOperator)
	handle("DELETE "+api.PathOperators+"/{name}", operators, f.deleteOperator)
	handle("POST "+api.PathOperatorRenew, operators, f.renew)
	handle("GET "+api.PathStatus, operators, f.status)
	handle("POST "+api.PathRenew, services, f.renew)
	handle("POST "+api.PathRekey, "anyone", f.rekey)
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
		e := err.(*api.Error)
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

func (f *fakeCA) issue(r *http.Request) (any, error) {
	body := decode[api.IssueRequest](f, r)
	if f.find(body.Service) < 0 {
		return nil, notFound("service " + body.Service)
	}
	ttl := time.Hour
	if body.TTL > 0 {
		ttl = time.Duration(body.TTL)
	}
	if body.Service == "vault" {
		return f.issued(leaf{path: "vault", notBefore: -time.Minute, notAfter: ttl, shard: "4/1"}, nil), nil // another key than was asked for
	}
	return f.issued(leaf{path: body.Service, notBefore: -time.Minute, notAfter: ttl, shard: "4/1"}, f.key(body.CSR)), nil
}

func (f *fakeCA) key(csr []byte) crypto.PublicKey {
	request, err := x509.ParseCertificateRequest(csr)
	fatal(f.t, err)
	fatal(f.t, request.CheckSignature())
	return request.PublicKey
}

// issued signs; a nil key is one of its own.
func (f *fakeCA) issued(l leaf, pub crypto.PublicKey) api.Issued {
	if pub == nil {
		pub = newKey(f.t).Public()
	}
	cert := f.leaf(f.t, l, pub)
	serial, err := certs.SerialFromInt(cert.SerialNumber)
	fatal(f.t, err)
	id, err := certs.IDFromCertificate(cert)
	fatal(f.t, err)
	f.rows = append(f.rows, api.Certificate{
		Serial: serial, Kind: "service", Service: l.path, ID: id, Issuer: keyID(f.issuer), Profile: "service", Method: "operator",
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, IssuedAt: f.now, Status: "valid", DER: cert.Raw,
	})
	return api.Issued{
		Chain: [][]byte{cert.Raw, f.issuer.Raw}, Roots: [][]byte{f.root.Raw},
		RenewAfter: cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) * 2 / 3), Grace: api.Duration(time.Hour),
	}
}

func (f *fakeCA) renew(r *http.Request) (any, error) {
	body := decode[api.RenewRequest](f, r)
	return f.issued(leaf{path: peerID(r).Path(), notBefore: -time.Minute, notAfter: 2 * time.Hour, shard: "4/1"}, f.key(body.CSR)), nil
}

// rekey checks the proof as api.RekeyRequest says, for ECDSA.
func (f *fakeCA) rekey(r *http.Request) (any, error) {
	body := decode[api.RekeyRequest](f, r)
	old, err := x509.ParseCertificate(body.Chain[0])
	fatal(f.t, err)
	message, err := api.RekeyMessage(testDomain, &body)
	fatal(f.t, err)
	if err := old.CheckSignature(x509.ECDSAWithSHA256, message, body.Signature); err != nil || len(body.Nonce) != 16 {
		return nil, &api.Error{Code: api.CodeBadRequest, Message: "the proof of possession does not hold"}
	}
	id, err := certs.IDFromCertificate(old)
	fatal(f.t, err)
	return f.issued(leaf{path: id.Path(), notBefore: -time.Minute, notAfter: 2 * time.Hour}, f.key(body.CSR)), nil
}

func (f *fakeCA) listCertificates(r *http.Request) (any, error) {
	var matching []api.Certificate
	expiring, _ := time.ParseDuration(r.FormValue("expiring"))
	for _, row := range f.rows {
		row.DER = nil
		ok := contains(row.Service, r.FormValue("service")) && contains(row.Kind, r.FormValue("kind")) && contains(row.Status, r.FormValue("status"))
		ok = ok && (expiring == 0 || row.Status == "valid" && row.NotAfter.Before(f.now.Add(expiring)))
		ok = ok && strings.HasPrefix(row.Serial.String(), r.FormValue("q"))
		if ok {
			matching = append(matching, row)
		}
	}
	at, _ := strconv.Atoi(r.FormValue("cursor"))
	size, _ := strconv.Atoi(r.FormValue("limit"))
	size = min(size, 2) // small pages
	list := api.CertificateList{Certificates: matching[min(at, len(matching)):min(at+size, len(matching))]}
	if at+size < len(matching) {
		list.Next = strconv.Itoa(at + size)
	}
	return list, nil
}

func contains(value, wanted string) bool { return wanted == "" || value == wanted }

func (f *fakeCA) getCertificate(r *http.Request) (any, error) {
	for _, row := range f.rows {
		if row.Serial.String() == r.PathValue("serial") && row.DER != nil {
			return row, nil
		}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Message: "no certificate has this serial"}
}

func (f *fakeCA) revoke(r *http.Request) (any, error) {
	body := decode[api.RevokeRequest](f, r)
	result := api.RevokeResult{DryRun: body.DryRun, Sequence: 9}
	hit := false
	for i := range f.rows {
		row := &f.rows[i]
		switch {
		case body.Service != "" && row.Service == body.Service && row.Status != "expired":
		case !body.Serial.IsZero() && row.Serial == body.Serial:
		case body.Certificate != nil && string(row.DER) == string(body.Certificate):
		default:
			continue
		}
		hit = true
		shown := *row
		shown.DER = nil
		if row.Status == "revoked" {
			result.Already = append(result.Already, shown)
			continue
		}
		if !body.DryRun {
			at := time.Now().UTC().Truncate(time.Second)
			row.Status, row.RevokedAt, row.Reason = "revoked", &at, body.Reason.String()
			shown.Status = "revoked"
		}
		result.Revoked = append(result.Revoked, shown)
	}
	if !hit {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "no such certificate"}
	}
	return result, nil
}

func (f *fakeCA) addOperator(r *http.Request) (any, error) {
	body := decode[api.OperatorRequest](f, r)
	if !slices.Contains([]string{"admin", "issuer", "reader"}, body.Role) {
		return nil, &api.Error{Code: api.CodeBadRequest, Message: "role " + body.Role + " is unknown"}
	}
	f.operators = append(f.operators, api.Operator{Name: body.Name, ID: f.id("handfast/operator/" + body.Name), Role: body.Role, Services: body.Services, Created: f.now})
	return f.issued(leaf{path: "handfast/operator/" + body.Name, notBefore: -time.Minute, notAfter: 720 * time.Hour}, f.key(body.CSR)), nil
}

func (f *fakeCA) deleteOperator(r *http.Request) (any, error) {
	at := slices.IndexFunc(f.operators, func(o api.Operator) bool { return o.Name == r.PathValue("name") })
	if at < 0 {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "operator " + r.PathValue("name") + " is not registered"}
	}
	f.operators = slices.Delete(f.operators, at, at+1)
	return nil, nil
}

func (f *fakeCA) status(r *http.Request) (any, error) {
	name := peerID(r).Path()
	s := api.Status{
		Name: "Test CA", Version: "v1", TrustDomain: testDomain, Fingerprint: certs.Fingerprint(f.root), Ready: true, ServerTime: time.Now(),
		StartedAt: f.now.Add(-time.Hour - 30*time.Second), Services: len(f.services), Live: 3, Revoked: 1, You: peerID(r).String(), Role: "admin",
		Issuers: []api.Authority{{Subject: "CN=Test Issuer", KeyID: "aabb", NotAfter: f.now.Add(time.Hour * 24 * 365)}},
		Roots:   []api.Authority{{Subject: "CN=Test Root", KeyID: "ccdd", NotAfter: f.now.Add(time.Hour * 24 * 365)}},
		CRLs:    []api.CRLStatus{{Issuer: "aabb", Number: "7", Entries: 1, ThisUpdate: f.now.Add(-time.Minute), NextUpdate: f.now.Add(time.Hour)}},
	}
	if name == "handfast/operator/reader" {
		s.Ready, s.Problems, s.ServerTime = false, []string{"the ledger cannot be written"}, time.Now().Add(-time.Hour)
	}
	return s, nil
}

func (f *fakeCA) servePublic(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.URL.Path == "/ocsp":
		f.ocsp(w, r)
	case r.URL.Path == "/crl/"+keyID(f.root)+".crl":
		f.write(w, "application/pkix-crl", f.crl(f.t, f.root, f.rootKey, "", nil))
	case r.URL.Path == "/crl/"+keyID(f.issuer)+".crl":
		f.write(w, "application/pkix-crl", f.crl(f.t, f.issuer, f.issuerKey, "", f.revoked()))
	case r.URL.Path == "/crl/"+keyID(f.issuer)+"/4/1.crl":
		f.write(w, "application/pkix-crl", f.crl(f.t, f.issuer, f.issuerKey, f.public.URL+r.URL.Path, f.revoked()))
	default:
		http.NotFound(w, r)
	}
}

func (f *fakeCA) write(w http.ResponseWriter, mediaType string, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	if _, err := w.Write(body); err != nil {
		f.t.Log(err) // the client has gone
	}
}

func (f *fakeCA) revoked() []x509.RevocationListEntry {
	var entries []x509.RevocationListEntry
	for _, row := range f.rows {
		if row.RevokedAt != nil {
			reason, err := certs.ParseReason(row.Reason)
			fatal(f.t, err)
			entries = append(entries, x509.RevocationListEntry{SerialNumber: row.Serial.Int(), RevocationTime: *row.RevokedAt, ReasonCode: int(reason)})
		}
	}
	return entries
}

func (f *fakeCA) ocsp(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	fatal(f.t, err)
	request, err := ocsp.ParseRequest(body)
	fatal(f.t, err)
	if name := sha256.Sum256(f.issuer.RawSubject); string(request.IssuerNameHash) != string(name[:]) {
		f.write(w, "application/ocsp-response", ocsp.UnauthorizedErrorResponse)
		return
	}
	response := ocsp.Response{Status: ocsp.Unknown, SerialNumber: request.SerialNumber, ThisUpdate: f.now.Add(-time.Minute), NextUpdate: f.now.Add(time.Hour)}
	for _, row := range f.rows {
		if row.Serial.Int().Cmp(request.SerialNumber) != 0 {
			continue
		}
		response.Status = ocsp.Good
		if row.RevokedAt != nil {
			response.Status, response.RevokedAt = ocsp.Revoked, *row.RevokedAt
			reason, err := certs.ParseReason(row.Reason)
			fatal(f.t, err)
			response.RevocationReason = int(reason)
		}
	}
	der, err := ocsp.CreateResponse(f.issuer, f.issuer, response, f.issuerKey)
	fatal(f.t, err)
	f.write(w, "application/ocsp-response", der)
}
