package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// serverPath is the path of the SPIFFE ID of the CA's API server.
const serverPath = ReservedPrefix + "/ca"

// PinnedConfig returns what a host needs for its first call to the CA, when all it
// knows of it is the SHA-256 fingerprint of its root (64 hexadecimal digits, colons allowed),
// from an enrolment token. The server must send that root in its chain, be
// issued by it, and carry the identity spiffe://TRUST-DOMAIN/handfast/ca. No client
// certificate is sent. Revocation cannot be known yet and is not checked.
func PinnedConfig(fingerprint string, opts ...Option) (*tls.Config, error) {
	pin, err := hex.DecodeString(strings.ReplaceAll(fingerprint, ":", ""))
	if err != nil || len(pin) != sha256.Size {
		return nil, fmt.Errorf("root fingerprint %q is not a SHA-256 in hexadecimal (%d digits)", fingerprint, 2*sha256.Size)
	}
	p := &pinned{options: collect(opts), fingerprint: hex.EncodeToString(pin)}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		NextProtos:             p.protocols,
		Time:                   p.now,
		InsecureSkipVerify:     true, // VerifyConnection does it all, by fingerprint and identity
		VerifyConnection:       p.verifyConnection,
	}, nil
}

type pinned struct {
	options
	fingerprint string
}

func (p *pinned) verifyConnection(cs tls.ConnectionState) error {
	refusal := p.verify(cs.PeerCertificates, p.now())
	if refusal == nil {
		return nil
	}
	if len(cs.PeerCertificates) > 0 {
		refusal.Peer, _ = IDFromCertificate(cs.PeerCertificates[0])
	}
	if p.onRefusal != nil {
		p.onRefusal(refusal)
	}
	return refusal
}

func (p *pinned) verify(chain []*x509.Certificate, now time.Time) *Refusal {
	if refusal := checkPresented(chain, now); refusal != nil {
		return refusal
	}
	leaf := chain[0]
	root := p.root(chain)
	if root == nil {
		return refuse(CauseUnknownAuthority, leaf, now, fmt.Errorf("the server's chain does not hold the root with fingerprint %s: either this is not the CA that made the token, or its root has changed since", p.fingerprint))
	}
	id, err := IDFromCertificate(leaf)
	if err != nil {
		return refuse(CauseNoIdentity, leaf, now, err)
	}
	bundle, err := NewBundle(id.TrustDomain(), []*x509.Certificate{root})
	if err != nil {
		return refuse(CauseBadChain, root, now, err)
	}
	paths, refusal := findPaths(chain, bundle, x509.ExtKeyUsageServerAuth, now)
	if refusal != nil {
		return refusal
	}
	if _, refusal := checkSVID(leaf, bundle.td, x509.ExtKeyUsageServerAuth, now); refusal != nil {
		return refusal
	}
	for _, cert := range paths[0][1:] {
		if err := checkAuthorityDomain(bundle.td, cert); err != nil {
			return refuse(CauseForeignTrustDomain, cert, now, err)
		}
	}
	if id.Path() != serverPath {
		return refuse(CauseWrongIdentity, leaf, now, fmt.Errorf("the server is %s, not the CA (spiffe://%s/%s)", id, id.TrustDomain(), serverPath))
	}
	return nil
}

func (p *pinned) root(chain []*x509.Certificate) *x509.Certificate {
	for _, cert := range chain {
		if Fingerprint(cert) == p.fingerprint {
			return cert
		}
	}
	return nil
}
