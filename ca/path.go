package ca

import (
	"bytes"
	"crypto/x509"
	"slices"
)

// path is how a certificate was verified up to a root. It never changes; peers with equal ones share one.
type path struct {
	issuer string          // key identifier
	key    []byte          // the issuer's, as a SubjectPublicKeyInfo
	above  []caCertificate // between the certificate and the root, as the client sent them
	root   []byte          // DER
}

// newPath takes a verified chain, which ends with the root.
func newPath(verified []*x509.Certificate) (*path, error) {
	p := &path{issuer: hexID(verified[1].SubjectKeyId), key: verified[1].RawSubjectPublicKeyInfo, root: verified[len(verified)-1].Raw}
	for _, link := range verified[1 : len(verified)-1] {
		certificate, err := newCACertificate(link)
		if err != nil {
			return nil, err
		}
		p.above = append(p.above, certificate)
	}
	return p, nil
}

func (p *path) equal(other *path) bool {
	return p.issuer == other.issuer && bytes.Equal(p.key, other.key) && slices.Equal(p.above, other.above) && bytes.Equal(p.root, other.root)
}

// knows reports whether the issuer of p is one of ours.
func (a *authorities) knows(p *path) bool {
	s := a.byID[p.issuer]
	return s != nil && bytes.Equal(s.issuer.Certificate().RawSubjectPublicKeyInfo, p.key)
}

// trusts reports whether what was verified along p would be again: the signatures are what they were.
func (a *authorities) trusts(p *path) bool {
	return a.knows(p) && slices.ContainsFunc(a.rootsDER, func(root []byte) bool { return bytes.Equal(root, p.root) })
}
