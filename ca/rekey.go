package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

const (
	rekeyWindow    = 5 * time.Minute // between signed_at and the CA's clock
	maxRekeyChain  = 5
	maxCertificate = 8 << 10
)

// Rekey issues the next certificate of a service whose certificate has expired within its
// profile's grace. Who signed with the old key over api.RekeyMessage is that service; the
// nonce is used up in the transaction that records the certificate. A revoked, unknown or
// foreign certificate and a removed service are refused as by Renew.
func (c *CA) Rekey(ctx context.Context, r *api.RekeyRequest, idem string) (*Issued, error) {
	w := who{method: MethodRekey}
	issued, err := c.rekey(ctx, r, idem, &w)
	return issued, c.answer(ctx, w, err)
}

func (c *CA) rekey(ctx context.Context, r *api.RekeyRequest, idem string, w *who) (*Issued, error) {
	now := c.now()
	if err := checkFreshness(r, now); err != nil {
		return nil, err
	}
	chain, err := parseChain(r.Chain)
	if err != nil {
		return nil, err
	}
	row, err := c.rekeyable(ctx, chain, now)
	if err != nil {
		return nil, err
	}
	w.name, w.by = row.Name, row.ID.String()
	if err := c.checkPossession(r, chain[0]); err != nil {
		return nil, err
	}
	key, err := c.idempotent(idem, placeOfSerial(row.Serial), []string{"rekey", row.Serial.String()}, r.CSR)
	if err != nil {
		return nil, err
	}
	issued, err := c.serve(ctx, request{
		service: row.Name, method: MethodRekey, by: row.ID.String(), csr: r.CSR, asking: row.Serial, idem: key,
		oneTime: &OneTime{
			ID:        Placed(placeOfSerial(row.Serial), "rekey:"+row.Serial.String()+":"+hex.EncodeToString(r.Nonce)),
			ExpiresAt: r.SignedAt.Add(2 * rekeyWindow),
		},
	})
	if errors.Is(err, ErrTokenUsed) {
		return nil, refuse(api.CodeReplayed, "sign again with a new nonce", "the nonce was used before")
	}
	return issued, err
}

func checkFreshness(r *api.RekeyRequest, now time.Time) error {
	switch age := now.Sub(r.SignedAt); {
	case len(r.Nonce) != api.RekeyNonceSize:
		return refuse(api.CodeBadRequest, "", "the nonce has %d bytes; give %d random ones", len(r.Nonce), api.RekeyNonceSize)
	case age > rekeyWindow || age < -rekeyWindow:
		return refuse(api.CodeReplayed, "sign it now; check both clocks", "the request was signed at %s; the CA's clock says %s",
			r.SignedAt.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}

func parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	if len(ders) == 0 || len(ders) > maxRekeyChain {
		return nil, refuse(api.CodeBadRequest, "", "the chain has %d certificates; give 1 to %d", len(ders), maxRekeyChain)
	}
	chain := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		if len(der) > maxCertificate {
			return nil, refuse(api.CodeTooLarge, "", "a certificate has %d bytes; at most %d are allowed", len(der), maxCertificate)
		}
		var err error
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, refuse(api.CodeBadRequest, "", "certificate %d of the chain: %v", i+1, err)
		}
	}
	return chain, nil
}

// rekeyable verifies chain as of its leaf's own last second and finds its row; what has
// expired since stays otherwise held to all that a renewal is held to.
func (c *CA) rekeyable(ctx context.Context, chain []*x509.Certificate, now time.Time) (Certificate, error) {
	leaf, a := chain[0], c.authorities.Load()
	if now.Before(leaf.NotBefore) {
		return Certificate{}, refuse(api.CodeUnauthenticated, "check both clocks", "the old certificate is not valid yet")
	}
	verified, err := a.verifyFresh(chain, leaf.NotAfter)
	if err != nil {
		return Certificate{}, err
	}
	if err := c.authorityRevoked(verified.path.above); err != nil {
		return Certificate{}, err
	}
	row, err := c.row(ctx, leaf, verified.path.issuer)
	if err != nil {
		return Certificate{}, err
	}
	if row.Kind != KindService {
		return Certificate{}, refuse(api.CodeForbidden, "ask an admin", "a certificate of kind %s cannot be rekeyed", row.Kind)
	}
	if grace := a.grace(row.Profile); now.After(row.NotAfter.Add(grace)) {
		return Certificate{}, refuse(api.CodeExpired, "enrol again with a new token", "the certificate expired at %s, and the grace of %s is over",
			row.NotAfter.UTC().Format(time.RFC3339), grace)
	}
	return row, c.entitled(ctx, row)
}

func (c *CA) checkPossession(r *api.RekeyRequest, leaf *x509.Certificate) error {
	message, err := api.RekeyMessage(c.td.String(), r)
	if err != nil {
		return refuse(api.CodeBadRequest, "", "the signed message: %v", err)
	}
	if err := verifySignature(leaf.PublicKey, message, r.Signature); err != nil {
		return refuse(api.CodeUnauthenticated, "sign with the old certificate's key", "the signature of the old key: %v", err)
	}
	return nil
}

// verifySignature is by the schemes that api.RekeyRequest names, one for each kind of key.
func verifySignature(public crypto.PublicKey, message, signature []byte) error {
	hashed := sha256.Sum256(message)
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(key, hashed[:], signature) {
			return nil
		}
	case ed25519.PublicKey:
		if ed25519.Verify(key, message, signature) {
			return nil
		}
	case *rsa.PublicKey:
		if rsa.VerifyPSS(key, crypto.SHA256, hashed[:], signature, nil) == nil {
			return nil
		}
	default:
		return fmt.Errorf("a key of type %T is not supported", public)
	}
	return errors.New("does not verify")
}

// certificateSerial is the serial of a parsed certificate.
func certificateSerial(certificate *x509.Certificate) (certs.Serial, error) {
	return certs.SerialFromInt(certificate.SerialNumber)
}
