package home

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/atomicfile"
	"github.com/handfast/handfast/issuer"
)

// InitOptions say what CA to make.
type InitOptions struct {
	Dir           Dir
	Settings      Settings
	KeyAlgorithm  issuer.Algorithm // of root and issuing key; "" is ECDSA P-256
	IssuingKey    string           // URI of an issuing key that exists already; "" makes one in a file
	RootLifetime  time.Duration    // 0 is issuer.DefaultRootLifetime
	IssuingLife   time.Duration    // 0 is issuer.DefaultIntermediateLifetime
	PassphraseEnv bool             // the passphrase is in HANDFAST_PASSPHRASE
	Passphrase    string           // or in this file; "" generates one

	// An existing root. Its key is used once and not copied.
	RootCert, RootKey  string
	RootPassphraseFile string // of RootKey, or of the new root's key; "" is the passphrase of the others

	// CSROut makes keys and a request for an issuing certificate that another CA signs,
	// instead of a root and a certificate. Complete goes on with the answer.
	CSROut string

	// Finish makes what else belongs to a CA, such as the ledger and the first operator,
	// at exactly the paths in FinishFiles. It is not called before there is a certificate.
	Finish      Finish
	FinishFiles []string

	Now time.Time
}

// Finish gets the keys as they are in memory, so that no passphrase is stretched again.
// It does not close them.
type Finish func(context.Context, *Config, *Material) error

// Settings are what config.yaml begins with.
type Settings struct {
	Name, TrustDomain, Address, PublicAddress, APIURL, PublicURL, MetricsAddress string
	ServerNames                                                                  []string
}

// Result is what Init made.
type Result struct {
	Config      *Config
	Made        []string // files and directories, in order
	Fingerprint string   // of the root; "" while there is no certificate
	RootKey     string   // the new root key to carry away; "" when there is none
	CSR         string   // the request to be signed; "" when there is none
}

// Init makes a CA in a directory that holds none. It overwrites nothing, and on any
// failure removes what it made. config.yaml is written last: with it the CA exists.
func Init(ctx context.Context, o InitOptions) (*Result, error) {
	cfg, text, err := o.configure()
	if err != nil {
		return nil, err
	}
	if err := refuseExisting(o.Dir); err != nil {
		return nil, err
	}
	m := &maker{}
	result, err := o.make(ctx, m, cfg, text)
	if err != nil {
		return nil, errors.Join(err, m.undo())
	}
	return result, nil
}

func (o InitOptions) make(ctx context.Context, m *maker, cfg *Config, text []byte) (*Result, error) {
	release, err := m.claim(o.Dir)
	if err != nil {
		return nil, err
	}
	defer release() //nolint:errcheck // the lock goes with the file
	made, err := o.makeKeys(ctx, m, cfg)
	if err != nil {
		return nil, err
	}
	defer made.close()
	result := &Result{Config: cfg, RootKey: made.rootPath}
	if o.CSROut != "" {
		result.CSR = o.CSROut
		err = o.writeRequest(m, cfg, made)
	} else {
		result.Fingerprint = certs.Fingerprint(made.root)
		err = o.certify(ctx, m, cfg, made)
	}
	if err != nil {
		return nil, err
	}
	if err := m.file(o.Dir.Config(), text, 0o644); err != nil {
		return nil, err
	}
	result.Made = m.present()
	return result, nil
}

// claim makes the directory and takes it for this process, so that of two inits at the
// same time one ends before it has touched anything.
func (m *maker) claim(dir Dir) (release func() error, err error) {
	if err := m.dir(string(dir)); err != nil {
		return nil, fmt.Errorf("make the CA's directory: %w", err)
	}
	_, statErr := os.Lstat(dir.LockFile())
	release, err = dir.Lock()
	if err != nil {
		return nil, err
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		m.made = append(m.made, dir.LockFile())
	}
	err = refuseExisting(dir)
	for _, sub := range []string{"keys", "certs", "root"} {
		if err == nil {
			err = m.dir(dir.join(sub))
		}
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// refuseExisting says what is there rather than that some file exists.
func refuseExisting(dir Dir) error {
	if _, err := os.Lstat(dir.Config()); err == nil {
		return fmt.Errorf("%s holds a CA already (%s): %w; nothing is ever overwritten: give another --dir, or start this one with handfast-ca serve --dir %s", dir, dir.Config(), fs.ErrExist, dir)
	}
	for _, path := range []string{dir.Passphrase(), dir.IssuingKey(), dir.TokenKey(), dir.RootCert(), dir.IssuingCert(), dir.RootCRL(), dir.RootKey(), dir.Operator(), dir.Ledger()} {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s: %w, without a configuration: an init was cut off here, or it is another CA's; nothing is ever overwritten: move it away, or give another --dir", path, fs.ErrExist)
		}
	}
	return nil
}

// certify makes the certificates and the root's CRL, and installs them.
func (o InitOptions) certify(ctx context.Context, m *maker, cfg *Config, made *keys) error {
	intermediate, err := issuer.NewIntermediate(made.root, made.rootSigner, made.issuing.Public(), issuer.IntermediateRequest{
		TrustDomain: cfg.TrustDomain, Name: o.Settings.Name, NotBefore: o.Now.Add(-time.Minute), Lifetime: o.IssuingLife,
		CRL: cfg.urls(made.root).Full(), CAIssuers: cfg.urls(made.root).CAIssuers(),
	})
	if err != nil {
		return err
	}
	crl, err := signRootCRL(made.root, made.rootSigner, nil, nil, o.Now)
	if err != nil {
		return err
	}
	material, err := cfg.assemble([]*x509.Certificate{intermediate}, made.root, made.daemonKeys, o.Now)
	if err != nil {
		return err
	}
	material.RootCRL = crl
	return m.install(ctx, cfg, material, o.Finish, o.FinishFiles)
}

// install writes what the daemon vouches for, and has the rest made.
func (m *maker) install(ctx context.Context, cfg *Config, material *Material, finish Finish, finishFiles []string) error {
	if err := m.file(cfg.Dir.RootCert(), encodeCertificates(material.Root), 0o644); err != nil {
		return err
	}
	if err := m.file(cfg.Dir.IssuingCert(), encodeCertificates(material.Chain...), 0o644); err != nil {
		return err
	}
	if material.RootCRL != nil {
		if err := m.file(cfg.Dir.RootCRL(), material.RootCRL, 0o644); err != nil {
			return err
		}
	}
	if finish == nil {
		return nil
	}
	if err := m.expect(finishFiles...); err != nil {
		return err
	}
	return finish(ctx, cfg, material)
}

// writeRequest makes the request for an issuing certificate.
func (o InitOptions) writeRequest(m *maker, cfg *Config, made *keys) error {
	der, err := issuer.NewIntermediateCSR(made.issuing, issuer.IntermediateRequest{TrustDomain: cfg.TrustDomain, Name: o.Settings.Name})
	if err != nil {
		return err
	}
	if err := m.expect(o.CSROut); err != nil {
		return err
	}
	return atomicfile.Create(o.CSROut, encodeRequest(der), 0o644)
}
