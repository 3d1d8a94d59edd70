// Package inspect says what certificates, requests and CRLs hold: as a report for
// programs, and in words for people.
package inspect

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
	"github.com/handfast/handfast/cmd/handfast/internal/revstatus"
)

// Report is everything about one target. The names of its fields are stable.
type Report struct {
	Target       string           `json:"target"`
	Source       string           `json:"source"` // file, tls or ca
	TLS          *TLS             `json:"tls,omitempty"`
	Ledger       *api.Certificate `json:"ledger,omitempty"` // the CA's record, without its DER
	Certificates []Certificate    `json:"certificates,omitempty"`
	Requests     []Request        `json:"requests,omitempty"`
	CRLs         []CRL            `json:"crls,omitempty"`
	PrivateKeys  []Key            `json:"private_keys,omitempty"` // their public halves
}

// TLS is what a connection was.
type TLS struct {
	Version      string `json:"version"`
	CipherSuite  string `json:"cipher_suite"`
	KeyExchange  string `json:"key_exchange"`
	Protocol     string `json:"protocol,omitempty"`        // ALPN
	ClientWanted bool   `json:"client_certificate_wanted"` // the server asked for a client certificate
	Stapled      bool   `json:"ocsp_stapled"`
}

// Certificate is one certificate.
type Certificate struct {
	Serial         string            `json:"serial"`
	Subject        string            `json:"subject,omitempty"`
	Issuer         string            `json:"issuer"`
	ID             string            `json:"id,omitempty"` // the SPIFFE ID
	DNSNames       []string          `json:"dns_names,omitempty"`
	IPs            []string          `json:"ips,omitempty"`
	Emails         []string          `json:"emails,omitempty"`
	URIs           []string          `json:"uris,omitempty"`
	NotBefore      time.Time         `json:"not_before"`
	NotAfter       time.Time         `json:"not_after"`
	Validity       string            `json:"validity"` // valid, expired, not_yet_valid
	CA             bool              `json:"ca"`
	PathLength     *int              `json:"path_length,omitempty"`
	Key            Key               `json:"key"`
	KeyUsage       []string          `json:"key_usage,omitempty"`
	ExtKeyUsage    []string          `json:"ext_key_usage,omitempty"`
	Signature      string            `json:"signature_algorithm"`
	SHA256         string            `json:"sha256"`
	SHA1           string            `json:"sha1"` // as older tools show it; never to be trusted
	KeyID          string            `json:"key_id,omitempty"`
	AuthorityKeyID string            `json:"authority_key_id,omitempty"`
	OCSPURLs       []string          `json:"ocsp_urls,omitempty"`
	IssuerURLs     []string          `json:"issuer_urls,omitempty"`
	CRLURLs        []string          `json:"crl_urls,omitempty"`
	MustStaple     bool              `json:"must_staple,omitempty"`  // RFC 7633
	NoRevAvail     bool              `json:"no_rev_avail,omitempty"` // RFC 9608
	SelfSigned     bool              `json:"self_signed"`
	SignedBy       string            `json:"signed_by,omitempty"` // SHA-256 of the issuer's certificate, when it is at hand and its signature holds
	OCSP           *revstatus.Answer `json:"ocsp,omitempty"`
	CRL            *revstatus.Answer `json:"crl,omitempty"`
}

// Key is a public key.
type Key struct {
	Algorithm string `json:"algorithm"`
	SHA256    string `json:"sha256"` // of the SubjectPublicKeyInfo: equal for a key, its request and its certificate
}

// Request is a certificate request.
type Request struct {
	Subject    string   `json:"subject,omitempty"`
	DNSNames   []string `json:"dns_names,omitempty"`
	IPs        []string `json:"ips,omitempty"`
	URIs       []string `json:"uris,omitempty"`
	Key        Key      `json:"key"`
	Signature  string   `json:"signature_algorithm"`
	Possession bool     `json:"possession_proved"` // it is signed by the key that it carries
}

// CRL is a certificate revocation list.
type CRL struct {
	Issuer         string    `json:"issuer"`
	Number         string    `json:"number,omitempty"`
	ThisUpdate     time.Time `json:"this_update"`
	NextUpdate     time.Time `json:"next_update"`
	Stale          bool      `json:"stale"`
	Entries        int       `json:"entries"`
	Delta          bool      `json:"delta"`
	Partition      bool      `json:"partition"` // it has an issuingDistributionPoint
	AuthorityKeyID string    `json:"authority_key_id,omitempty"`
	Signature      string    `json:"signature_algorithm"`
	Revoked        []Revoked `json:"revoked,omitempty"` // the first ones, see MaxRevoked
}

// MaxRevoked is how many entries of a CRL a report shows.
const MaxRevoked = 1000

// Revoked is an entry of a CRL.
type Revoked struct {
	Serial string    `json:"serial"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Asker asks for revocation; *revstatus.Client is one.
type Asker interface {
	OCSP(ctx context.Context, cert, issuer *x509.Certificate) revstatus.Answer
	CRL(ctx context.Context, cert, issuer *x509.Certificate) revstatus.Answer
}

// Inspector makes reports.
type Inspector struct {
	Now     func() time.Time
	Ask     Asker               // nil asks nobody
	Issuers []*x509.Certificate // CA certificates at hand beside those in the target
}

// maxAsked is for how many certificates of one target revocation is asked.
const maxAsked = 8

// Fill adds content to the report.
func (i *Inspector) Fill(ctx context.Context, r *Report, content pemfile.Content) {
	known := append(append([]*x509.Certificate{}, content.Certificates...), i.Issuers...)
	asked := 0
	for _, cert := range content.Certificates {
		c := i.certificate(cert)
		issuer := FindIssuer(cert, known)
		if issuer != nil && !c.SelfSigned {
			c.SignedBy = certs.Fingerprint(issuer)
		}
		if i.Ask != nil && !c.SelfSigned && asked < maxAsked {
			asked++
			c.OCSP, c.CRL = i.ask(ctx, cert, issuer)
		}
		r.Certificates = append(r.Certificates, c)
	}
	for _, request := range content.Requests {
		r.Requests = append(r.Requests, describeRequest(request))
	}
	for _, crl := range content.CRLs {
		r.CRLs = append(r.CRLs, i.crl(crl))
	}
	for _, pub := range content.PublicKeys {
		r.PrivateKeys = append(r.PrivateKeys, describeKey(pub))
	}
}

func (i *Inspector) ask(ctx context.Context, cert, issuer *x509.Certificate) (ocsp, crl *revstatus.Answer) {
	if issuer == nil {
		problem := revstatus.Answer{
			Status:  revstatus.Unavailable,
			Problem: "the issuer's certificate is not at hand, so no answer could be checked",
		}
		return &problem, &problem
	}
	o, c := i.Ask.OCSP(ctx, cert, issuer), i.Ask.CRL(ctx, cert, issuer)
	return &o, &c
}

// FindIssuer returns the certificate among known that signed cert, or nil.
func FindIssuer(cert *x509.Certificate, known []*x509.Certificate) *x509.Certificate {
	for _, candidate := range known {
		if !bytes.Equal(candidate.RawSubject, cert.RawIssuer) || pemfile.CheckSize(candidate.PublicKey) != nil {
			continue
		}
		if cert.CheckSignatureFrom(candidate) == nil {
			return candidate
		}
	}
	return nil
}

func (i *Inspector) crl(list *x509.RevocationList) CRL {
	c := CRL{
		Issuer: list.Issuer.String(), ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate,
		Stale: i.Now().After(list.NextUpdate), Entries: len(list.RevokedCertificateEntries),
		AuthorityKeyID: hex.EncodeToString(list.AuthorityKeyId), Signature: list.SignatureAlgorithm.String(),
	}
	if list.Number != nil {
		c.Number = list.Number.String()
	}
	for _, extension := range list.Extensions {
		switch extension.Id.String() {
		case "2.5.29.27":
			c.Delta = true
		case "2.5.29.28":
			c.Partition = true
		}
	}
	for _, entry := range list.RevokedCertificateEntries[:min(MaxRevoked, len(list.RevokedCertificateEntries))] {
		c.Revoked = append(c.Revoked, Revoked{
			Serial: hexSerial(entry.SerialNumber), At: entry.RevocationTime, Reason: certs.Reason(entry.ReasonCode).String(),
		})
	}
	return c
}
