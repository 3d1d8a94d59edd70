package main

import (
	"crypto"
	"crypto/x509"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

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

// once answers a repeated idempotency key with what it led to before, and loses answers.
func (f *fakeCA) once(issue func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		key := r.Header.Get(api.HeaderIdempotencyKey)
		f.asked = append(f.asked, key)
		answer, known := f.replays[key]
		if !known || key == "" {
			var err error
			if answer, err = issue(r); err != nil {
				return nil, err
			}
			if f.replays == nil {
				f.replays = map[string]any{}
			}
			f.replays[key] = answer
		}
		if f.lose > 0 {
			f.lose--
			panic(http.ErrAbortHandler)
		}
		return answer, nil
	}
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
	path := peerID(r).Path()
	if f.renewAs != "" {
		path = f.renewAs
	}
	return f.issued(leaf{path: path, notBefore: -time.Minute, notAfter: 2 * time.Hour, shard: "4/1"}, f.key(body.CSR)), nil
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
		Name: "Test CA", Version: "v1", TrustDomain: testDomain, Fingerprint: certs.Fingerprint(f.root), Ready: true, ServerTime: f.now,
		StartedAt: f.now.Add(-time.Hour - 30*time.Second), Services: len(f.services), Live: 3, Revoked: 1, You: peerID(r).String(), Role: "admin",
		Issuers: []api.Authority{{Subject: "CN=Test Issuer", KeyID: "aabb", NotAfter: f.now.Add(time.Hour * 24 * 365)}},
		Roots:   []api.Authority{{Subject: "CN=Test Root", KeyID: "ccdd", NotAfter: f.now.Add(time.Hour * 24 * 365)}},
		CRLs:    []api.CRLStatus{{Issuer: "aabb", Number: "7", Entries: 1, ThisUpdate: f.now.Add(-time.Minute), NextUpdate: f.now.Add(time.Hour)}},
	}
	s.Sequence, s.Agents = 9, api.AgentCounts{Known: 3, Connected: 2, Lagging: 1, Silent: 1, Behind: f.agents()[1:]}
	if name == "handfast/operator/reader" {
		s.Ready, s.Problems, s.ServerTime = false, []string{"the ledger cannot be written"}, f.now.Add(-time.Hour)
	}
	return s, nil
}
