package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Limits of PEM files.
const (
	maxPEMCertificates = 64
	maxPEMSize         = 1 << 20   // bytes of a file of certificates or of a key
	maxPEMCRLSize      = 128 << 20 // bytes of a file of CRLs
)

// ParseCertificates reads a PEM file that holds 1 to 64 certificates and nothing else
// but text between the blocks, at most 1 MiB. The bounds hold before anything is parsed.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := parsePEM(data, "CERTIFICATE", maxPEMSize, maxPEMCertificates)
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return nil, errors.New("no PEM block CERTIFICATE")
	}
	return parseAll(blocks)
}

func parseAll(ders [][]byte) ([]*x509.Certificate, error) {
	parsed := make([]*x509.Certificate, 0, len(ders))
	for i, der := range ders {
		if len(der) > maxCertificateSize {
			return nil, fmt.Errorf("certificate %d has %d bytes; at most %d are allowed", i+1, len(der), maxCertificateSize)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		parsed = append(parsed, cert)
	}
	return parsed, nil
}

// parseKeyPEM reads one private key: PKCS #8, or the older forms that openssl writes.
func parseKeyPEM(data []byte) (crypto.Signer, error) {
	if len(data) > maxPEMSize {
		return nil, fmt.Errorf("the key's file has %d bytes; at most %d are allowed", len(data), maxPEMSize)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block with a private key")
	}
	switch block.Type {
	case "PRIVATE KEY":
		return parseKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, errBadKey
		}
		return key, nil
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, errBadKey
		}
		return key, nil
	default:
		return nil, fmt.Errorf("PEM block %q is not a private key that can be read (PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY, not encrypted)", block.Type)
	}
}

// errBadKey stands for whatever crypto/x509 says: an error text may quote the bytes it chokes on.
var errBadKey = errors.New("the private key is malformed")

func parseKey(pkcs8 []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, errBadKey
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	default:
		return nil, errors.New("the private key is of a kind that cannot sign")
	}
}

// parsePEM returns the blocks of a file, which all have to be of one kind.
func parsePEM(data []byte, kind string, maxSize, maxBlocks int) ([][]byte, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("the file has %d bytes; at most %d are allowed", len(data), maxSize)
	}
	// Counting is linear and costs next to nothing, decoding is neither for hostile input.
	begins := bytes.Count(data, []byte("-----BEGIN "))
	if begins > maxBlocks {
		return nil, fmt.Errorf("the file has %d PEM blocks; at most %d are allowed", begins, maxBlocks)
	}
	var ders [][]byte
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != kind {
			return nil, fmt.Errorf("PEM block %q where only %s is expected", block.Type, kind)
		}
		ders = append(ders, block.Bytes)
		data = rest
	}
	// pem.Decode passes over what it cannot read: a CRL or a root that is not seen is not missed.
	if len(ders) != begins {
		return nil, fmt.Errorf("%d of %d PEM blocks are cut off or malformed", begins-len(ders), begins)
	}
	return ders, nil
}
