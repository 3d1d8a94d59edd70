// Package issuance takes what the CA issued: it holds the answer against the key that was asked
// for before anything is written, and turns it into files.
package issuance

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

// Result is a checked answer.
type Result struct {
	Leaf       *x509.Certificate
	ID         certs.ID
	Chain      []*x509.Certificate // the leaf first, without the root
	Roots      []*x509.Certificate
	RenewAfter time.Time
}

// Check accepts issued only if its leaf carries pub, has an identity of trust domain td,
// and its chain leads to one of its roots now.
func Check(issued *api.Issued, pub crypto.PublicKey, td certs.TrustDomain, now time.Time) (*Result, error) {
	chain, err := parse(issued.Chain)
	if err != nil {
		return nil, fmt.Errorf("the chain that the CA sent: %w", err)
	}
	roots, err := parse(issued.Roots)
	if err != nil {
		return nil, fmt.Errorf("the roots that the CA sent: %w", err)
	}
	bundle, err := certs.NewBundle(td, roots)
	if err != nil {
		return nil, fmt.Errorf("the roots that the CA sent: %w", err)
	}
	key, ok := pub.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !key.Equal(chain[0].PublicKey) {
		return nil, errors.New("the CA sent a certificate of another key")
	}
	id, err := certs.IDFromCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("the certificate that the CA sent: %w", err)
	}
	// A certificate may begin a little after this host's clock; its own beginning is a moment when it is valid.
	if now.Before(chain[0].NotBefore) {
		now = chain[0].NotBefore
	}
	if _, err := certs.VerifyChain(chain, bundle, x509.ExtKeyUsageAny, now); err != nil {
		return nil, fmt.Errorf("the certificate that the CA sent: %w", err)
	}
	if id.TrustDomain() != td {
		return nil, fmt.Errorf("the CA sent a certificate of trust domain %s instead of %s", id.TrustDomain(), td)
	}
	return &Result{Leaf: chain[0], ID: id, Chain: chain, Roots: roots, RenewAfter: issued.RenewAfter}, nil
}

// Serial returns the leaf's serial.
func (r *Result) Serial() string {
	serial, err := certs.SerialFromInt(r.Leaf.SerialNumber)
	if err != nil {
		return r.Leaf.SerialNumber.Text(16)
	}
	return serial.String()
}

func parse(ders [][]byte) ([]*x509.Certificate, error) {
	if len(ders) == 0 {
		return nil, errors.New("empty")
	}
	list := make([]*x509.Certificate, 0, len(ders))
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		list = append(list, cert)
	}
	return list, nil
}

// PEM writes certificates one after the other.
func PEM(list []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, cert := range list {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return b.Bytes()
}

// DER returns certificates as the API carries them.
func DER(list []*x509.Certificate) [][]byte {
	ders := make([][]byte, 0, len(list))
	for _, cert := range list {
		ders = append(ders, cert.Raw)
	}
	return ders
}
