package issuer

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// Issuer signs certificates and CRLs with one issuing certificate's key. It is safe for concurrent use.
type Issuer struct {
	signer  tbsSigner
	cert    *x509.Certificate
	chain   [][]byte
	refused map[[sha256.Size]byte]string
}

// Option changes how an Issuer works.
type Option func(*Issuer)

// WithRefusedKeys makes the issuer refuse the keys in list as leaf keys: an operator's
// list of known-bad keys, or the keys of roots and other issuers. It may be given several times.
func WithRefusedKeys(list *KeyList) Option {
	return func(i *Issuer) {
		if list == nil {
			return
		}
		for digest, remark := range list.keys {
			i.refused[digest] = remark
		}
	}
}

// New returns the issuer for chain: the issuing certificate first, then its own
// intermediates if any, without the root. signer holds the issuing certificate's key.
// The keys of the chain are refused as leaf keys; give the root's with
// [WithRefusedKeys]. That chain verifies up to a root is for the caller to check.
func New(chain []*x509.Certificate, signer crypto.Signer, options ...Option) (*Issuer, error) {
	if len(chain) == 0 || chain[0] == nil {
		return nil, errors.New("issuer: the chain is empty; put the issuing certificate first")
	}
	if signer == nil {
		return nil, errors.New("issuer: the key is missing")
	}
	cert := chain[0]
	if err := checkIssuing(cert); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	s, err := newTBSSigner(signer, cert)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	i := &Issuer{signer: s, cert: cert, refused: make(map[[sha256.Size]byte]string)}
	for _, c := range chain {
		i.chain = append(i.chain, c.Raw)
		i.refused[sha256.Sum256(c.RawSubjectPublicKeyInfo)] = "it is the key of the CA itself"
	}
	for _, option := range options {
		option(i)
	}
	return i, nil
}

// ID returns the issuing certificate's subject key identifier in lower-case hexadecimal.
func (i *Issuer) ID() string { return KeyID(i.cert) }

// Certificate returns the issuing certificate. The caller does not change it.
func (i *Issuer) Certificate() *x509.Certificate { return i.cert }

// Chain returns the certificates that leaves are sent with, DER: the issuing
// certificate first, without the root.
func (i *Issuer) Chain() [][]byte { return append([][]byte(nil), i.chain...) }

// SignatureAlgorithm returns the DER AlgorithmIdentifier that this issuer signs with.
func (i *Issuer) SignatureAlgorithm() []byte { return append([]byte(nil), i.signer.algorithm...) }

// checkLeafKey refuses keys on this issuer's own list. Errors wrap ErrWeakKey.
func (i *Issuer) checkLeafKey(key PublicKey) error {
	if remark, found := i.refused[key.digest]; found {
		return fmt.Errorf("%w: %s; generate a fresh key", ErrWeakKey, remark)
	}
	return nil
}
