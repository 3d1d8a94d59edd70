package home

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore"
)

// tokenKeySize is the length of the MAC key of enrolment tokens, in bytes.
const tokenKeySize = 32

// maxCRL is the largest root CRL that is read, in bytes.
const maxCRL = 16 << 20

// ErrNoChain means that the directory waits for its issuing certificate to be signed elsewhere.
var ErrNoChain = errors.New("the issuing certificate is not there yet")

// Material is everything the daemon signs with and vouches for. It holds secrets.
type Material struct {
	Issuer   *issuer.Issuer
	Chain    []*x509.Certificate // issuing certificate first, then its intermediates, no root
	Root     *x509.Certificate
	RootCRL  []byte // DER; nil when there is none
	TokenKey []byte
	closer   io.Closer
}

// Close releases the issuing key. The Issuer must not be used afterwards.
func (m *Material) Close() error { return m.closer.Close() }

// Format keeps the keys out of logs and errors, whatever the verb.
func (m Material) Format(w fmt.State, _ rune) {
	_, _ = fmt.Fprintf(w, "material of issuer %s", m.Issuer.ID()) // a fmt.State keeps its own error
}

// ReadPassphrase returns the passphrase of the keys.
func (c *Config) ReadPassphrase() ([]byte, error) {
	passphrase, err := c.Passphrase.Read()
	if err != nil {
		return nil, fmt.Errorf("%w; set %s, or passphrase_file in %s", err, EnvPassphrase, c.Dir.Config())
	}
	return passphrase, nil
}

// Open opens the keys that the daemon needs and reads the certificates, and checks that
// they belong together at now. The root's key is not among them.
func (c *Config) Open(ctx context.Context, now time.Time) (*Material, error) {
	chain, root, err := c.readChain()
	if err != nil {
		return nil, err
	}
	opened, err := c.openKeys(ctx)
	if err != nil {
		return nil, err
	}
	m, err := c.assemble(chain, root, opened, now)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.Dir.IssuingCert(), err), opened.closer.Close())
	}
	if m.RootCRL, err = readRootCRL(c.Dir.RootCRL(), root); err != nil {
		return nil, errors.Join(err, opened.closer.Close())
	}
	return m, nil
}

// daemonKeys are the two keys that the daemon holds.
type daemonKeys struct {
	issuing crypto.Signer
	token   []byte
	closer  io.Closer // of the issuing key
}

// openKeys opens both at once: to turn the passphrase into a key takes some 90 ms on purpose.
func (c *Config) openKeys(ctx context.Context) (daemonKeys, error) {
	passphrase, err := c.ReadPassphrase()
	if err != nil {
		return daemonKeys{}, err
	}
	var keys daemonKeys
	var tokenErr, issuingErr error
	var opening sync.WaitGroup
	opening.Go(func() { keys.token, tokenErr = c.openTokenKey(passphrase) })
	opening.Go(func() { keys.issuing, keys.closer, issuingErr = keystore.Open(ctx, c.IssuingKey, passphrase) })
	opening.Wait()
	switch {
	case tokenErr == nil && issuingErr == nil:
		return keys, nil
	case issuingErr == nil:
		return daemonKeys{}, errors.Join(tokenErr, keys.closer.Close())
	case tokenErr != nil: // one of the two is enough to tell
		return daemonKeys{}, tokenErr
	default:
		return daemonKeys{}, c.explain(issuingErr)
	}
}

func (c *Config) openTokenKey(passphrase []byte) ([]byte, error) {
	token, err := keystore.OpenSecret(c.Dir.TokenKey(), passphrase)
	if err != nil {
		return nil, c.explain(err)
	}
	if len(token) != tokenKeySize {
		return nil, fmt.Errorf("%s holds %d bytes instead of %d; restore it from a backup", c.Dir.TokenKey(), len(token), tokenKeySize)
	}
	return token, nil
}

// assemble makes the issuer. Leaf keys that it refuses are the root's, because whoever
// holds that one could sign anything, and those on the operator's list.
func (c *Config) assemble(chain []*x509.Certificate, root *x509.Certificate, keys daemonKeys, now time.Time) (*Material, error) {
	if err := issuer.CheckIntermediate(chain, root, keys.issuing.Public(), now); err != nil {
		return nil, err
	}
	own, err := issuer.NewKeyList("it is the key of the root", root.PublicKey)
	if err != nil {
		return nil, err
	}
	made, err := issuer.New(chain, keys.issuing, issuer.WithRefusedKeys(c.RefusedKeys), issuer.WithRefusedKeys(own))
	if err != nil {
		return nil, err
	}
	return &Material{Issuer: made, Chain: chain, Root: root, TokenKey: keys.token, closer: keys.closer}, nil
}

// explain adds what to do about a key that does not open.
func (c *Config) explain(err error) error {
	if !errors.Is(err, keystore.ErrPassphrase) {
		return err
	}
	from := c.Passphrase.File
	if c.Passphrase.Env != "" {
		from = "the variable " + c.Passphrase.Env
	}
	return fmt.Errorf("%w; the passphrase came from %s", err, from)
}

func (c *Config) readChain() ([]*x509.Certificate, *x509.Certificate, error) {
	if _, err := os.Stat(c.Dir.IssuingCert()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: %s does not exist; when the request has been signed, run: handfast-ca init --dir %s --chain-in FILE", ErrNoChain, c.Dir.IssuingCert(), c.Dir)
	}
	chain, err := readCertificates(c.Dir.IssuingCert())
	if err != nil {
		return nil, nil, err
	}
	roots, err := readCertificates(c.Dir.RootCert())
	if err != nil {
		return nil, nil, err
	}
	if len(roots) != 1 {
		return nil, nil, fmt.Errorf("%s holds %d certificates; it must hold the root alone", c.Dir.RootCert(), len(roots))
	}
	return chain, roots[0], nil
}

// readCertificates reads a PEM file of certificates, at least one, and nothing else.
func readCertificates(name string) ([]*x509.Certificate, error) {
	data, err := readLimited(name, maxPlatformFile)
	if err != nil {
		return nil, err
	}
	certificates, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return certificates, nil
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return nil, errors.New("it holds something that is not PEM")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s; only certificates belong here", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return out, nil
}

func encodeCertificates(certificates ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

// readRootCRL returns nil when there is none, and an error when it is not the root's.
// An expired one is returned: agents will say so, and the CA stays reachable to fix it.
func readRootCRL(name string, root *x509.Certificate) ([]byte, error) {
	der, err := readLimited(name, maxCRL)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := checkRootCRL(der, root); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return der, nil
}

func checkRootCRL(der []byte, root *x509.Certificate) (*x509.RevocationList, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("it is not a CRL in DER: %w", err)
	}
	if err := list.CheckSignatureFrom(root); err != nil {
		return nil, fmt.Errorf("it is not signed by the root: %w", err)
	}
	return list, nil
}
