package home

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/atomicfile"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore"
)

// RootCRLLifetime is how long a root CRL is good: the root's key is away, so it is
// renewed by hand.
const RootCRLLifetime = 365 * 24 * time.Hour

// RootCRLOptions say how to renew the root's CRL.
type RootCRLOptions struct {
	RootKey        string // a URI, or the path of a file
	PassphraseFile string // of the root's key; "" is the passphrase of the others
	Revoke         string // a certificate to add, in PEM; "" adds none
	Reason         certs.Reason
	Import         string // instead: a CRL that was made elsewhere
	// Ledger returns what the ledger revokes of what the issuer with this key id signed, to be
	// listed with the rest; nil is nothing.
	Ledger func(ctx context.Context, issuerID string) ([]x509.RevocationListEntry, error)
	First  bool // there has never been one: without it a missing file is an error
	Now    time.Time
}

// RenewRootCRL makes the next CRL of the root with the root's key, or takes one that
// was made elsewhere, and replaces the file, which the daemon follows. Who does it at the
// same time waits, so that no revocation is lost.
func (c *Config) RenewRootCRL(ctx context.Context, o RootCRLOptions) (*x509.RevocationList, error) {
	_, root, err := c.readChain()
	if err != nil {
		return nil, err
	}
	release, err := c.Dir.lockCertificates()
	if err != nil {
		return nil, err
	}
	defer release() //nolint:errcheck // only a lock goes with it
	current, err := c.currentRootCRL(root)
	if err != nil {
		return nil, err
	}
	var next []byte
	if o.Import != "" {
		next, err = ReadCRL(o.Import, root)
	} else {
		next, err = c.nextRootCRL(ctx, o, root, current)
	}
	if err != nil {
		return nil, err
	}
	list, err := checkRootCRL(next, root)
	if err != nil {
		return nil, err
	}
	if current != nil && (list.Number == nil || list.Number.Cmp(current.Number) < 0) {
		return nil, fmt.Errorf("the CRL has number %v, but %v is installed: numbers never fall", list.Number, current.Number)
	}
	if err := atomicfile.Write(c.Dir.RootCRL(), next, 0o644); err != nil {
		return nil, fmt.Errorf("replace the root's CRL: %w", err)
	}
	return list, nil
}

// currentRootCRL is nil when there is none yet.
func (c *Config) currentRootCRL(root *x509.Certificate) (*x509.RevocationList, error) {
	der, err := readRootCRL(c.Dir.RootCRL(), root)
	if err != nil || der == nil {
		return nil, err
	}
	return checkRootCRL(der, root)
}

func (c *Config) nextRootCRL(ctx context.Context, o RootCRLOptions, root *x509.Certificate, current *x509.RevocationList) ([]byte, error) {
	var revoked []x509.RevocationListEntry
	var number *big.Int
	switch {
	case current != nil:
		revoked, number = current.RevokedCertificateEntries, current.Number
	case !o.First:
		return nil, fmt.Errorf("%s is not there, and a new list would forget what was revoked: put the last one back (or --import it), or say --first if this root never had one", c.Dir.RootCRL())
	}
	var also []x509.RevocationListEntry
	if o.Ledger != nil {
		var err error
		if also, err = o.Ledger(ctx, issuer.KeyID(root)); err != nil {
			return nil, fmt.Errorf("read what the ledger revokes: %w", err)
		}
	}
	if o.Revoke != "" {
		entry, err := revocationOf(o.Revoke, root, o.Reason, o.Now)
		if err != nil {
			return nil, err
		}
		also = append(also, entry)
	}
	for _, entry := range also {
		if !lists(revoked, entry.SerialNumber) {
			revoked = append(slices.Clip(revoked), entry)
		}
	}
	signer, closer, err := c.openRootKey(ctx, o)
	if err != nil {
		return nil, err
	}
	if !sameKey(signer.Public(), root.PublicKey) {
		return nil, errors.Join(fmt.Errorf("--root-key is not the key of %s", c.Dir.RootCert()), closer())
	}
	der, err := signRootCRL(root, signer, revoked, number, o.Now)
	return der, errors.Join(err, closer())
}

func lists(revoked []x509.RevocationListEntry, serial *big.Int) bool {
	return slices.ContainsFunc(revoked, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(serial) == 0 })
}

func (c *Config) openRootKey(ctx context.Context, o RootCRLOptions) (crypto.Signer, func() error, error) {
	source := c.Passphrase
	if o.PassphraseFile != "" {
		source = keystore.PassphraseSource{File: o.PassphraseFile}
	}
	passphrase, err := source.Read()
	if err != nil {
		return nil, nil, fmt.Errorf("root's %w", err)
	}
	signer, closer, err := keystore.Open(ctx, keyURI(o.RootKey), passphrase)
	if err != nil {
		return nil, nil, fmt.Errorf("--root-key: %w", err)
	}
	return signer, closer.Close, nil
}

// revocationOf is the entry for a certificate that root has signed.
func revocationOf(name string, root *x509.Certificate, reason certs.Reason, now time.Time) (x509.RevocationListEntry, error) {
	found, err := readCertificates(name)
	if err != nil {
		return x509.RevocationListEntry{}, fmt.Errorf("--revoke: %w", err)
	}
	cert := found[0]
	if err := cert.CheckSignatureFrom(root); err != nil {
		return x509.RevocationListEntry{}, fmt.Errorf("--revoke: %s is not signed by this root: %w", name, err)
	}
	if cert.Equal(root) {
		return x509.RevocationListEntry{}, errors.New("--revoke: a root cannot revoke itself; distribute another root instead")
	}
	return x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: now.UTC().Truncate(time.Second), ReasonCode: int(reason)}, nil
}

// signRootCRL numbers by the clock, and at least one above the last one: a CRL that is
// made after the file was lost still has a higher number than those that clients have seen.
func signRootCRL(root *x509.Certificate, signer crypto.Signer, revoked []x509.RevocationListEntry, last *big.Int, now time.Time) ([]byte, error) {
	number := big.NewInt(now.Unix())
	if last != nil && number.Cmp(last) <= 0 {
		number.Add(last, big.NewInt(1))
	}
	from := now.UTC().Truncate(time.Second).Add(-time.Minute)
	return issuer.SignRootCRL(root, signer, revoked, number, from, from.Add(RootCRLLifetime))
}

// ReadRootCRL returns the root's CRL as it is in the directory now, or nil when there is none.
func (c *Config) ReadRootCRL(root *x509.Certificate) ([]byte, error) {
	return readRootCRL(c.Dir.RootCRL(), root)
}
