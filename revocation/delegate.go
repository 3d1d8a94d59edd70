package revocation

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/revocation/ocsp"
)

// delegate is a responder key and what of its responses never changes.
type delegate struct {
	signer    ResponseSigner
	algorithm []byte
	keyHash   []byte
	tail      []byte
	notBefore time.Time
	notAfter  time.Time
}

// SetResponder sets who signs OCSP responses for issuer's certificates from now on,
// and drops responses that the one before signed. Without one, with nil, and once its
// certificate has expired, requests are answered with tryLater. A responder whose
// certificate the issuer did not sign is the same as none, and logged.
func (p *Publisher) SetResponder(issuer string, signer ResponseSigner) {
	s := p.responder.byID[issuer]
	if s == nil {
		p.config.Logger.Error("OCSP responder is not used: its issuer is not configured", "issuer", issuer)
		return
	}
	if signer == nil {
		s.delegate.Store(nil)
		return
	}
	d, err := newDelegate(p.byID[issuer].signer, signer)
	if err != nil {
		p.config.Logger.Error("OCSP responder is not used; requests are answered with tryLater", "issuer", issuer, "error", err)
	}
	s.delegate.Store(d)
}

func newDelegate(issuer CRLSigner, signer ResponseSigner) (*delegate, error) {
	certificate := signer.Certificate()
	if id := hex.EncodeToString(certificate.AuthorityKeyId); id != issuer.ID() {
		return nil, fmt.Errorf("its certificate is signed by %q", id)
	}
	if err := certificate.CheckSignatureFrom(issuer.Certificate()); err != nil {
		return nil, fmt.Errorf("its certificate: %w", err)
	}
	keyHash, err := ocsp.ResponderKeyHash(certificate)
	if err != nil {
		return nil, err
	}
	tail, err := ocsp.CertificateTail(certificate)
	if err != nil {
		return nil, err
	}
	return &delegate{
		signer: signer, algorithm: signer.SignatureAlgorithm(), keyHash: keyHash, tail: tail,
		notBefore: certificate.NotBefore, notAfter: certificate.NotAfter,
	}, nil
}

var errSignature = errors.New("the OCSP responder returned an empty signature")

func (d *delegate) signed(data ocsp.Data) ([]byte, error) {
	tbs, err := data.Marshal()
	if err != nil {
		return nil, err
	}
	signature, err := d.signer.SignResponse(tbs)
	if err != nil {
		return nil, fmt.Errorf("sign OCSP response: %w", err)
	}
	if len(signature) == 0 {
		return nil, errSignature
	}
	return ocsp.Assemble(tbs, d.algorithm, signature, d.tail)
}
