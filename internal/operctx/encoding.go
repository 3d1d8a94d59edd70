package operctx

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/strictyaml"
)

// Limits of what Parse takes. A context is some 4 KiB; the limits leave room for RSA keys
// and for roots in rotation, and bound the work that a hostile file can cause.
const (
	maxFile         = 256 << 10 // bytes
	maxKey          = 16 << 10  // bytes of PEM
	maxCertificates = 32        // in the roots, and in the chain
)

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY" // PKCS #8 (RFC 5958)
)

// document is the file's shape.
type document struct {
	CA          string `yaml:"ca"`
	TrustDomain string `yaml:"trust_domain"`
	Roots       string `yaml:"roots"`
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

const header = `# Handfast operator context. Whoever can read this file is this operator:
# keep its mode 0600, and remove the operator when the file is lost.
`

// Parse reads a context strictly: unknown keys, a key that does not belong to the certificate, a
// certificate of another trust domain and bytes between PEM blocks are errors. name stands in
// errors for where data came from; no error quotes data's secrets.
func Parse(name string, data []byte) (Context, error) {
	if len(data) > maxFile {
		return Context{}, fmt.Errorf("%s: over %d bytes, so it is no operator context", name, maxFile)
	}
	var d document
	if err := strictyaml.Decode(name, data, &d); err != nil {
		return Context{}, err
	}
	c, err := d.context()
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return Context{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// Marshal returns the file's content. Parse of it returns c again.
func Marshal(c Context) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("operator context: %w", err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("operator context: key: %w", err)
	}
	body, err := yaml.MarshalWithOptions(document{
		CA:          c.CA,
		TrustDomain: c.TrustDomain.String(),
		Roots:       encodeCertificates(c.Roots),
		Certificate: encodeCertificates(c.Chain),
		Key:         string(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: key})),
	}, yaml.UseLiteralStyleIfMultiline(true))
	if err != nil {
		return nil, fmt.Errorf("operator context: %w", err)
	}
	return append([]byte(header), body...), nil
}

func (d document) context() (Context, error) {
	td, err := certs.ParseTrustDomain(d.TrustDomain)
	if err != nil {
		return Context{}, fmt.Errorf("trust_domain: %w", err)
	}
	roots, err := decodeCertificates(d.Roots)
	if err != nil {
		return Context{}, fmt.Errorf("roots: %w", err)
	}
	chain, err := decodeCertificates(d.Certificate)
	if err != nil {
		return Context{}, fmt.Errorf("certificate: %w", err)
	}
	key, err := decodeKey(d.Key)
	if err != nil {
		return Context{}, fmt.Errorf("key: %w", err)
	}
	return Context{CA: d.CA, TrustDomain: td, Roots: roots, Chain: chain, Key: key}, nil
}

func encodeCertificates(list []*x509.Certificate) string {
	var b bytes.Buffer
	for _, cert := range list {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw}))
	}
	return b.String()
}

func decodeCertificates(text string) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; {
		if len(list) == maxCertificates {
			return nil, fmt.Errorf("over %d certificates", maxCertificates)
		}
		der, tail, err := nextBlock(rest, pemCertificate)
		if err != nil {
			return nil, err
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		list, rest = append(list, cert), tail
	}
	if len(list) == 0 {
		return nil, errors.New("missing")
	}
	return list, nil
}

func decodeKey(text string) (crypto.Signer, error) {
	if text == "" {
		return nil, errors.New("missing")
	}
	if len(text) > maxKey {
		return nil, fmt.Errorf("over %d bytes", maxKey)
	}
	der, rest, err := nextBlock([]byte(text), pemKey)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("something follows the PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("not a PKCS #8 private key") // without the cause, which could quote it
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a key that can sign")
	}
	return key, nil
}

// nextBlock takes one PEM block off text. pem.Decode would skip whatever stands before
// one; here that is an error, so that a damaged block is never passed over in silence.
func nextBlock(text []byte, kind string) (der, rest []byte, err error) {
	text = bytes.TrimSpace(text)
	if !bytes.HasPrefix(text, []byte("-----BEGIN "+kind+"-----")) {
		return nil, nil, fmt.Errorf("want a PEM block %q", kind)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != kind || len(block.Headers) > 0 {
		return nil, nil, fmt.Errorf("damaged PEM block %q", kind)
	}
	return block.Bytes, rest, nil
}
