package revstatus

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"

	// A client needs no more of OCSP than this package has: requests for one certificate
	// and responses with their signatures.
	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
)

// OCSP asks the first responder that cert names (RFC 6960). issuer is the certificate
// that signed cert.
func (c *Client) OCSP(ctx context.Context, cert, issuer *x509.Certificate) Answer {
	if len(cert.OCSPServer) == 0 {
		return Answer{Status: NotNamed}
	}
	source := cert.OCSPServer[0]
	answer, err := c.askOCSP(ctx, source, cert, issuer)
	if err != nil {
		return unavailable(source, err)
	}
	answer.URL = source
	return answer
}

func (c *Client) askOCSP(ctx context.Context, source string, cert, issuer *x509.Certificate) (Answer, error) {
	request, err := ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: crypto.SHA256})
	if err != nil {
		return Answer{}, fmt.Errorf("make the request: %w", err)
	}
	body, err := c.do(ctx, http.MethodPost, source, request, "application/ocsp", maxOCSP)
	if err != nil {
		return Answer{}, err
	}
	response, err := c.parseOCSP(body, cert, issuer)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{ThisUpdate: at(response.ThisUpdate), NextUpdate: at(response.NextUpdate)}
	switch response.Status {
	case ocsp.Good:
		answer.Status = Good
	case ocsp.Revoked:
		answer.Status = Revoked
		answer.RevokedAt = at(response.RevokedAt)
		answer.Reason = certs.Reason(response.RevocationReason).String()
	default:
		answer.Status = Unknown
	}
	return answer, nil
}

// parseOCSP accepts a response only if issuer, or a responder that issuer has appointed, signed it.
func (c *Client) parseOCSP(body []byte, cert, issuer *x509.Certificate) (*ocsp.Response, error) {
	if err := pemfile.CheckSize(issuer.PublicKey); err != nil {
		return nil, fmt.Errorf("the issuer's key: %w", err)
	}
	response, err := ocsp.ParseResponseForCert(body, cert, issuer)
	var refusal ocsp.ResponseError
	if errors.As(err, &refusal) {
		return nil, fmt.Errorf("the responder answers %q", refusal.Status)
	}
	if err != nil {
		return nil, err
	}
	now := c.now()
	// The package checks the delegate's signature, but not what the delegate may do.
	if delegate := response.Certificate; delegate != nil && !delegate.Equal(issuer) {
		switch {
		case !slices.Contains(delegate.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
			return nil, fmt.Errorf("signed by %q, which may not sign OCSP responses", delegate.Subject)
		case now.Before(delegate.NotBefore) || now.After(delegate.NotAfter):
			return nil, fmt.Errorf("signed by %q, whose certificate is not valid now", delegate.Subject)
		}
	}
	return response, window(response.ThisUpdate, response.NextUpdate, now)
}
