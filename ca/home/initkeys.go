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
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/issuer/keystore"
	"github.com/handfast/handfast/revocation"
)

// keys are what Init works with.
type keys struct {
	daemonKeys                   // the closer is among closers
	root       *x509.Certificate // nil when another CA signs
	rootSigner crypto.Signer     // nil when another CA signs
	rootPath   string            // of a new root key
	closers    []io.Closer
}

// close releases keys that live outside of this process; by then they have been used.
func (k *keys) close() {
	for _, c := range k.closers {
		c.Close() //nolint:errcheck // nothing is written through it
	}
}

func (o InitOptions) makeKeys(ctx context.Context, m *maker, cfg *Config) (out *keys, err error) {
	passphrase, err := o.passphrase(m, cfg)
	if err != nil {
		return nil, err
	}
	out = &keys{daemonKeys: daemonKeys{closer: io.NopCloser(nil)}} // close has the real ones
	defer func() {
		if err != nil {
			out.close()
		}
	}()
	if o.CSROut == "" {
		if err := o.makeRoot(ctx, m, cfg, out, passphrase); err != nil {
			return out, err
		}
	}
	if o.IssuingKey == "" {
		if err := m.expect(cfg.Dir.IssuingKey()); err != nil {
			return out, err
		}
		out.issuing, err = keystore.Create(cfg.Dir.IssuingKey(), o.KeyAlgorithm, passphrase)
	} else {
		err = out.open(ctx, &out.issuing, cfg.IssuingKey, passphrase)
	}
	if err != nil {
		return out, err
	}
	if err := m.expect(cfg.Dir.TokenKey()); err != nil {
		return out, err
	}
	out.token, err = keystore.CreateSecret(cfg.Dir.TokenKey(), tokenKeySize, passphrase)
	return out, err
}

func (k *keys) open(ctx context.Context, signer *crypto.Signer, uri string, passphrase []byte) error {
	opened, closer, err := keystore.Open(ctx, uri, passphrase)
	if err != nil {
		return err
	}
	*signer, k.closers = opened, append(k.closers, closer)
	return nil
}

// passphrase reads the given one or generates one.
func (o InitOptions) passphrase(m *maker, cfg *Config) ([]byte, error) {
	if o.PassphraseEnv || o.Passphrase != "" {
		return cfg.ReadPassphrase()
	}
	if err := m.expect(cfg.Dir.Passphrase()); err != nil {
		return nil, err
	}
	return keystore.CreatePassphrase(cfg.Dir.Passphrase())
}

func (o InitOptions) makeRoot(ctx context.Context, m *maker, cfg *Config, out *keys, passphrase []byte) error {
	if o.RootPassphraseFile != "" {
		var err error
		if passphrase, err = (keystore.PassphraseSource{File: o.RootPassphraseFile}).Read(); err != nil {
			return fmt.Errorf("root's %w", err)
		}
	}
	if o.RootCert != "" {
		return o.takeRoot(ctx, cfg, out, passphrase)
	}
	path := cfg.Dir.RootKey()
	if err := m.expect(path); err != nil {
		return err
	}
	var err error
	if out.rootSigner, err = keystore.Create(path, o.KeyAlgorithm, passphrase); err != nil {
		return err
	}
	out.rootPath = path
	// A minute earlier, as for everything signed, because other hosts' clocks are behind.
	out.root, err = issuer.NewRoot(out.rootSigner, issuer.RootRequest{
		TrustDomain: cfg.TrustDomain, Name: o.Settings.Name, NotBefore: o.Now.Add(-time.Minute), Lifetime: o.RootLifetime,
	})
	return err
}

// takeRoot checks a root that exists already, and opens its key for this one time.
func (o InitOptions) takeRoot(ctx context.Context, cfg *Config, out *keys, passphrase []byte) error {
	found, err := readCertificates(o.RootCert)
	if err != nil {
		return fmt.Errorf("--root-cert: %w", err)
	}
	if len(found) != 1 {
		return fmt.Errorf("--root-cert: %s holds %d certificates; give the root alone", o.RootCert, len(found))
	}
	out.root = found[0]
	if err := CheckRoot(cfg.TrustDomain, out.root, o.Now); err != nil {
		return fmt.Errorf("--root-cert: %s: %w", o.RootCert, err)
	}
	if err := out.open(ctx, &out.rootSigner, keyURI(o.RootKey), passphrase); err != nil {
		return fmt.Errorf("--root-key: %w", err)
	}
	if !sameKey(out.rootSigner.Public(), out.root.PublicKey) {
		return errors.New("--root-key is not the key of --root-cert; give the pair that belongs together")
	}
	return nil
}

// CheckRoot says why cert cannot be the root of td's certificates at now.
func CheckRoot(td certs.TrustDomain, cert *x509.Certificate, now time.Time) error {
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return errors.New("it is not a CA certificate")
	case !bytes.Equal(cert.RawIssuer, cert.RawSubject) || cert.CheckSignatureFrom(cert) != nil:
		return errors.New("it is not signed by itself, so it is no root")
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter):
		return fmt.Errorf("it is valid from %s to %s, not now", cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
	case cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != x509.KeyUsageCertSign|x509.KeyUsageCRLSign:
		return errors.New("it may not sign certificates and CRLs (key usage keyCertSign and cRLSign)")
	case cert.MaxPathLen == 0 && cert.MaxPathLenZero:
		return errors.New("its path length of 0 allows no intermediate")
	case len(cert.SubjectKeyId) == 0:
		return errors.New("it has no subject key identifier")
	}
	if _, err := issuer.AlgorithmOf(cert.PublicKey); err != nil {
		return err
	}
	_, err := certs.NewBundle(td, []*x509.Certificate{cert})
	return err
}

// keyURI lets a plain path stand for a file.
func keyURI(s string) string {
	if i := bytes.IndexByte([]byte(s), ':'); i > 1 {
		return s
	}
	return keystore.FileScheme + s
}

func sameKey(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}

func encodeRequest(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// urls are the public addresses of an issuer of this CA, such as the root.
func (c *Config) urls(cert *x509.Certificate) revocation.URLs {
	return c.URLs(issuer.KeyID(cert))
}

// URLs are the public addresses that certificates of the issuer with this subject key
// identifier name.
func (c *Config) URLs(issuerID string) revocation.URLs {
	return revocation.URLs{Base: c.PublicURL, Issuer: issuerID, Shards: c.CRL.Shards}
}
