package main

import (
	"crypto/sha256"
	"crypto/x509"
	"io"
	"net/http"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
)

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
