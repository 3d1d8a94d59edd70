package revstatus

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"time"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/pemfile"
)

var (
	oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidDeltaIndicator           = asn1.ObjectIdentifier{2, 5, 29, 27}
)

// CRL looks cert up in the CRL that it names first (RFC 5280, section 6.3), full or
// partitioned. issuer is the certificate that signed both.
func (c *Client) CRL(ctx context.Context, cert, issuer *x509.Certificate) Answer {
	if len(cert.CRLDistributionPoints) == 0 {
		return Answer{Status: NotNamed}
	}
	source := cert.CRLDistributionPoints[0]
	der, err := c.FetchCRL(ctx, source)
	if err != nil {
		return unavailable(source, err)
	}
	answer, err := lookUp(der, source, cert, issuer, c.now())
	if err != nil {
		return unavailable(source, err)
	}
	answer.URL = source
	return answer
}

// FetchCRL returns the CRL at source as DER. It is not verified.
func (c *Client) FetchCRL(ctx context.Context, source string) ([]byte, error) {
	body, err := c.get(ctx, source, maxCRL)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(body); block != nil && block.Type == "X509 CRL" {
		return block.Bytes, nil
	}
	return body, nil
}

// shardURL matches where Handfast publishes its partitioned CRLs.
var shardURL = regexp.MustCompile(`^(https?://[^/]+/crl/[0-9a-f]+)/[0-9]+/[0-9]+\.crl$`)

// FetchFullCRL is FetchCRL for the CRL of all that an issuer has revoked. Where source is a
// partition of Handfast's, the full CRL is at the place beside it.
func (c *Client) FetchFullCRL(ctx context.Context, source string) ([]byte, error) {
	if parts := shardURL.FindStringSubmatch(source); parts != nil {
		source = parts[1] + ".crl"
	}
	return c.FetchCRL(ctx, source)
}

func lookUp(der []byte, source string, cert, issuer *x509.Certificate, now time.Time) (Answer, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return Answer{}, err
	}
	if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) {
		return Answer{}, fmt.Errorf("the CRL is %q's, the certificate %q's", crl.Issuer, issuer.Subject)
	}
	if err := pemfile.CheckSize(issuer.PublicKey); err != nil {
		return Answer{}, fmt.Errorf("the issuer's key: %w", err)
	}
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		return Answer{}, fmt.Errorf("the CRL is not signed by %q: %w", issuer.Subject, err)
	}
	if err := checkScope(crl, source, cert); err != nil {
		return Answer{}, err
	}
	if err := window(crl.ThisUpdate, crl.NextUpdate, now); err != nil {
		return Answer{}, err
	}
	return find(crl, cert.SerialNumber), nil
}

func find(crl *x509.RevocationList, serial *big.Int) Answer {
	answer := Answer{Status: Good, ThisUpdate: at(crl.ThisUpdate), NextUpdate: at(crl.NextUpdate)}
	if crl.Number != nil {
		answer.Number = crl.Number.String()
	}
	for _, entry := range crl.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(serial) == 0 {
			answer.Status = Revoked
			answer.RevokedAt = at(entry.RevocationTime)
			answer.Reason = certs.Reason(entry.ReasonCode).String()
			break
		}
	}
	return answer
}

// distributionPoint is RFC 5280, section 5.2.5, without what Handfast never writes.
type distributionPoint struct {
	Name struct {
		FullName     []asn1.RawValue `asn1:"optional,tag:0"`
		RelativeName asn1.RawValue   `asn1:"optional,tag:1"`
	} `asn1:"optional,tag:0"`
	OnlyUsers      bool           `asn1:"optional,tag:1"`
	OnlyCAs        bool           `asn1:"optional,tag:2"`
	OnlyReasons    asn1.BitString `asn1:"optional,tag:3"`
	Indirect       bool           `asn1:"optional,tag:4"`
	OnlyAttributes bool           `asn1:"optional,tag:5"`
}

// uriTag is the tag of a uniformResourceIdentifier in a GeneralName.
const uriTag = 6

// checkScope reports why crl, fetched from source, says nothing of cert: a partition for
// others would hide a revocation.
func checkScope(crl *x509.RevocationList, source string, cert *x509.Certificate) error {
	for _, extension := range crl.Extensions {
		switch {
		case extension.Id.Equal(oidDeltaIndicator):
			return errors.New("a delta CRL stands where a full one belongs")
		case extension.Id.Equal(oidIssuingDistributionPoint):
			if err := checkPoint(extension.Value, source, cert); err != nil {
				return err
			}
		case extension.Critical:
			return fmt.Errorf("the CRL has the critical extension %v, which is not understood", extension.Id)
		}
	}
	return nil
}

func checkPoint(der []byte, source string, cert *x509.Certificate) error {
	var point distributionPoint
	if rest, err := asn1.Unmarshal(der, &point); err != nil || len(rest) > 0 {
		return errors.New("the CRL's issuingDistributionPoint is damaged")
	}
	switch {
	case point.Indirect, point.OnlyAttributes, point.OnlyReasons.BitLength > 0, len(point.Name.RelativeName.FullBytes) > 0:
		return errors.New("the CRL is for some certificates only, in a way that is not understood")
	case point.OnlyUsers && cert.IsCA:
		return errors.New("the CRL is not for CA certificates")
	case point.OnlyCAs && !cert.IsCA:
		return errors.New("the CRL is for CA certificates only")
	}
	names := point.Name.FullName
	isSource := func(name asn1.RawValue) bool { return name.Tag == uriTag && string(name.Bytes) == source }
	if len(names) > 0 && !slices.ContainsFunc(names, isSource) {
		return errors.New("the CRL belongs to another distribution point")
	}
	return nil
}
