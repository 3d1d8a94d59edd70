// Package pemfile reads files of certificates, requests, CRLs and keys, PEM or DER,
// within bounds: whatever a file holds, reading it takes a bounded time.
package pemfile

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Limits of what is read. A CRL with 100000 entries is some 4 MB.
const (
	MaxSize    = 16 << 20 // bytes of a file
	maxBlocks  = 128      // PEM blocks
	maxObject  = 64 << 10 // bytes of one certificate or request
	maxKey     = 8 << 10  // bytes of a private key; the largest RSA key that we would check needs 5 KiB
	maxRSABits = 8192     // what crypto/tls accepts as well; checking a larger key's signature burns time
)

// Content is what a file holds, in the file's order within each kind.
type Content struct {
	Certificates []*x509.Certificate
	Requests     []*x509.CertificateRequest
	CRLs         []*x509.RevocationList
	// PublicKeys are the public halves of private keys in the file. The private
	// halves are dropped at once, so that nothing can show them.
	PublicKeys []crypto.PublicKey
}

// Read reads the file at path; "-" is stdin.
func Read(path string, stdin io.Reader) (Content, error) {
	if path == "-" {
		return read("standard input", stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return Content{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	info, err := f.Stat()
	if err != nil {
		return Content{}, err
	}
	if info.IsDir() {
		return Content{}, &fs.PathError{Op: "read", Path: path, Err: errors.New("is a directory; name a file in it")}
	}
	return read(path, f)
}

func read(name string, r io.Reader) (Content, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return Content{}, fmt.Errorf("%s: %w", name, err)
	}
	c, err := Parse(data)
	if err != nil {
		return Content{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// Parse reads data. Text around PEM blocks is ignored, as openssl writes it; a block
// of an unknown type, a damaged object and a file without any object are errors.
func Parse(data []byte) (Content, error) {
	if len(data) > MaxSize {
		return Content{}, fmt.Errorf("over %d MiB", MaxSize>>20)
	}
	var c Content
	if !bytes.Contains(data, []byte("-----BEGIN ")) {
		return c, c.addDER(data)
	}
	rest := data
	for n := 0; ; n++ {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if n == maxBlocks {
			return Content{}, fmt.Errorf("over %d PEM blocks", maxBlocks)
		}
		if err := c.addBlock(block); err != nil {
			return Content{}, fmt.Errorf("PEM block %d (%.40q): %w", n+1, block.Type, err)
		}
	}
	if c.empty() {
		return Content{}, errors.New("a damaged PEM block, and no good one")
	}
	if bytes.Contains(rest, []byte("-----BEGIN ")) {
		return Content{}, errors.New("a damaged PEM block at the end")
	}
	return c, nil
}

func (c *Content) empty() bool {
	return len(c.Certificates)+len(c.Requests)+len(c.CRLs)+len(c.PublicKeys) == 0
}

func (c *Content) addBlock(block *pem.Block) error {
	switch block.Type {
	case "CERTIFICATE", "X509 CERTIFICATE":
		return c.addCertificate(block.Bytes)
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return c.addRequest(block.Bytes)
	case "X509 CRL":
		return c.addCRL(block.Bytes)
	case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY":
		return c.addKey(block)
	case "ENCRYPTED PRIVATE KEY":
		return errors.New("an encrypted private key cannot be shown")
	default:
		return errors.New("neither a certificate, a request, a CRL nor a key")
	}
}

// addDER takes data for whichever object it parses as.
func (c *Content) addDER(data []byte) error {
	if len(data) == 0 {
		return errors.New("empty")
	}
	if c.addCertificate(data) == nil || c.addRequest(data) == nil || c.addCRL(data) == nil {
		return nil
	}
	return errors.New("neither PEM nor DER of a certificate, a request or a CRL")
}

func (c *Content) addCertificate(der []byte) error {
	if len(der) > maxObject {
		return fmt.Errorf("over %d bytes", maxObject)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	c.Certificates = append(c.Certificates, cert)
	return nil
}

func (c *Content) addRequest(der []byte) error {
	if len(der) > maxObject {
		return fmt.Errorf("over %d bytes", maxObject)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	c.Requests = append(c.Requests, request)
	return nil
}

func (c *Content) addCRL(der []byte) error {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	c.CRLs = append(c.CRLs, crl)
	return nil
}

func (c *Content) addKey(block *pem.Block) error {
	if len(block.Bytes) > maxKey {
		return fmt.Errorf("over %d bytes", maxKey)
	}
	key, err := parseKey(block)
	if err != nil {
		return errors.New("not a private key, or of an unknown kind") // the cause could quote it
	}
	c.PublicKeys = append(c.PublicKeys, key.Public())
	return nil
}

func parseKey(block *pem.Block) (crypto.Signer, error) {
	var parsed any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a key that can sign")
	}
	return key, nil
}

// CheckSize refuses keys whose signatures would take long to check. Call it before any
// check of a signature by a key that came from outside.
func CheckSize(pub crypto.PublicKey) error {
	if key, ok := pub.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
		return fmt.Errorf("an RSA key of %d bits; at most %d are checked", key.N.BitLen(), maxRSABits)
	}
	return nil
}
