package home

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/handfast/handfast/certs"
)

// CompleteOptions say with what to finish a CA whose request was signed elsewhere.
type CompleteOptions struct {
	Dir       Dir
	Overrides Overrides
	ChainIn   string // PEM: the issuing certificate, its intermediates, and the root unless RootCert has it
	RootCert  string
	RootCRL   string // PEM or DER: the root's CRL; needed when the certificates name one

	Finish      Finish // as for Init
	FinishFiles []string
	Now         time.Time
}

// Complete installs the chain that came back for a request by Init. It overwrites
// nothing, and on any failure removes what it made.
func Complete(ctx context.Context, o CompleteOptions) (*Result, error) {
	cfg, err := Load(o.Dir, o.Overrides)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(o.Dir.IssuingCert()); err == nil {
		return nil, fmt.Errorf("%s has its issuing certificate already: %w; nothing is ever overwritten", o.Dir, fs.ErrExist)
	}
	chain, root, err := o.readChain()
	if err != nil {
		return nil, err
	}
	if err := CheckRoot(cfg.TrustDomain, root, o.Now); err != nil {
		return nil, fmt.Errorf("the root %q: %w", root.Subject, err)
	}
	opened, err := cfg.openKeys(ctx)
	if err != nil {
		return nil, err
	}
	defer opened.closer.Close() //nolint:errcheck // nothing is written through it
	material, err := cfg.assemble(chain, root, opened, o.Now)
	if err != nil {
		return nil, fmt.Errorf("--chain-in: %s: %w", o.ChainIn, err)
	}
	if material.RootCRL, err = o.readCRL(chain, root); err != nil {
		return nil, err
	}
	release, err := o.Dir.Lock()
	if err != nil {
		return nil, err
	}
	defer release() //nolint:errcheck // the lock goes with the file
	m := &maker{}
	if err := m.install(ctx, cfg, material, o.Finish, o.FinishFiles); err != nil {
		return nil, errors.Join(err, m.undo())
	}
	return &Result{Config: cfg, Made: m.present(), Fingerprint: certs.Fingerprint(root)}, nil
}

// readChain splits what came back into chain and root.
func (o CompleteOptions) readChain() ([]*x509.Certificate, *x509.Certificate, error) {
	chain, err := readCertificates(o.ChainIn)
	if err != nil {
		return nil, nil, fmt.Errorf("--chain-in: %w", err)
	}
	if o.RootCert == "" {
		if len(chain) < 2 {
			return nil, nil, fmt.Errorf("--chain-in: %s holds one certificate; add the root at its end, or give it with --root-cert", o.ChainIn)
		}
		return chain[:len(chain)-1], chain[len(chain)-1], nil
	}
	roots, err := readCertificates(o.RootCert)
	if err != nil {
		return nil, nil, fmt.Errorf("--root-cert: %w", err)
	}
	if len(roots) != 1 {
		return nil, nil, fmt.Errorf("--root-cert: %s holds %d certificates; give the root alone", o.RootCert, len(roots))
	}
	if len(chain) > 1 && chain[len(chain)-1].Equal(roots[0]) {
		chain = chain[:len(chain)-1]
	}
	return chain, roots[0], nil
}

// readCRL wants a CRL where agents will: for a certificate that says where one is.
func (o CompleteOptions) readCRL(chain []*x509.Certificate, root *x509.Certificate) ([]byte, error) {
	if o.RootCRL == "" {
		if last := chain[len(chain)-1]; len(last.CRLDistributionPoints) > 0 {
			return nil, fmt.Errorf("the certificate %q names a CRL (%s), so agents will want it: get it and give it with --root-crl", last.Subject, last.CRLDistributionPoints[0])
		}
		return nil, nil
	}
	return ReadCRL(o.RootCRL, root)
}

// ReadCRL reads a CRL of root in PEM or DER and checks its signature. It returns DER.
func ReadCRL(name string, root *x509.Certificate) ([]byte, error) {
	data, err := readLimited(name, maxCRL)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(data); block != nil {
		data = block.Bytes
	}
	if _, err := checkRootCRL(data, root); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}
