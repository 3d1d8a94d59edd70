package main

import (
	"net/http"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// meant reports whether a request names row.
func meant(body *api.RevokeRequest, row *api.Certificate) bool {
	switch {
	case !body.Serial.IsZero():
		return row.Serial == body.Serial
	case body.Certificate != nil:
		return string(row.DER) == string(body.Certificate)
	case row.Status == "expired" || !body.IssuedBefore.IsZero() && !row.IssuedAt.Before(body.IssuedBefore):
		return false
	case body.AllServices:
		return row.Kind == "service"
	case !body.ID.IsZero():
		return row.ID == body.ID
	default:
		return body.Service != "" && row.Service == body.Service
	}
}

// outcome is the status that a reason leads to, and those that it changes.
func outcome(reason certs.Reason) (to string, from map[string]bool) {
	switch reason {
	case certs.CertificateHold:
		return "held", map[string]bool{"valid": true}
	case certs.RemoveFromCRL:
		return "valid", map[string]bool{"held": true}
	default:
		return "revoked", map[string]bool{"valid": true, "held": true, "expired": true}
	}
}

func (f *fakeCA) revoke(r *http.Request) (any, error) {
	body := decode[api.RevokeRequest](f, r)
	if body.Issuer != "" {
		return f.revokeIssuer(&body)
	}
	result := api.RevokeResult{DryRun: body.DryRun, Sequence: 9}
	if body.Reason == certs.Superseded {
		result.Sequence = 10 // which every agent comes to enforce
	}
	f.progressed = 0
	to, from := outcome(body.Reason)
	hit := false
	for i := range f.rows {
		row := &f.rows[i]
		if !meant(&body, row) {
			continue
		}
		hit = true
		shown := *row
		shown.DER = nil
		if !from[row.Status] {
			if body.Reason != certs.RemoveFromCRL || row.Status != "valid" {
				result.Already = append(result.Already, shown)
			}
			continue
		}
		if !body.DryRun {
			row.Status, row.RevokedAt, row.Reason = to, nil, ""
			if to != "valid" {
				at := f.now.UTC()
				row.RevokedAt, row.Reason = &at, body.Reason.String()
			}
			shown.Status = to
		}
		result.Revoked = append(result.Revoked, shown)
	}
	if !hit {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "no such certificate"}
	}
	result.Total = len(result.Revoked)
	return result, nil
}

// revokeIssuer knows one issuing CA, and nothing of what follows from its end.
func (f *fakeCA) revokeIssuer(body *api.RevokeRequest) (any, error) {
	if body.Issuer != "5e1f" {
		return nil, &api.Error{Code: api.CodeNotFound, Message: "there is no issuing CA with the key id " + body.Issuer}
	}
	if body.Reason != certs.CACompromise && body.Reason != certs.Unspecified {
		return nil, &api.Error{Code: api.CodeBadRequest, Message: "another reason"}
	}
	result := &api.RevokeResult{DryRun: body.DryRun, Sequence: 9, Affected: 3}
	row := api.Certificate{Serial: f.rows[0].Serial, Kind: "issuer", Service: body.Issuer, Status: "valid", NotAfter: f.now.Add(1000 * time.Hour)}
	if f.issuerRevoked {
		result.Already = []api.Certificate{row}
		return result, nil
	}
	f.issuerRevoked = !body.DryRun
	result.Revoked, result.Total = []api.Certificate{row}, 1
	return result, nil
}
