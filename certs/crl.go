package certs

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// crl is one full CRL: its DER, what its header says, and an index into its entries.
// A million entries cost their own DER and six to twelve bytes each beside it.
type crl struct {
	der        []byte
	tbs        []byte
	algorithm  x509.SignatureAlgorithm
	signature  []byte
	issuer     []byte // the DER of the name
	keyID      []byte
	number     *big.Int
	thisUpdate time.Time
	nextUpdate time.Time
	entries    serialIndex

	mu       sync.Mutex
	verified []byte // the public key that verdict is about
	verdict  error
}

// revokedEntry is what a CRL says of one certificate.
type revokedEntry struct {
	at     time.Time
	reason Reason
}

// signatureAlgorithms are the AlgorithmIdentifiers that a CRL may be signed with, in DER.
var signatureAlgorithms = map[string]x509.SignatureAlgorithm{
	"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02":             x509.ECDSAWithSHA256,
	"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03":             x509.ECDSAWithSHA384,
	"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04":             x509.ECDSAWithSHA512,
	"\x30\x05\x06\x03\x2b\x65\x70":                                 x509.PureEd25519,
	"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00": x509.SHA256WithRSA,
	"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00": x509.SHA384WithRSA,
	"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00": x509.SHA512WithRSA,
}

// parseCRL reads a CertificateList (RFC 5280, section 5.1) strictly, without its signature.
func parseCRL(raw []byte) (*crl, error) {
	if len(raw) > maxCRLSize {
		return nil, fmt.Errorf("has %d bytes; at most %d are allowed", len(raw), maxCRLSize)
	}
	outer := der(raw)
	list, _, err := outer.Read(tagSequence)
	if err != nil || len(outer) > 0 {
		return nil, fmt.Errorf("is not a CertificateList: %w", errDER)
	}
	content, tbs, err1 := list.Read(tagSequence)
	_, algorithm, err2 := list.Read(tagSequence)
	bits, _, err3 := list.Read(tagBitString)
	if err := errors.Join(err1, err2, err3); err != nil || len(list) > 0 || len(bits) == 0 || bits[0] != 0 {
		return nil, fmt.Errorf("is not a CertificateList: %w", errDER)
	}
	known, ok := signatureAlgorithms[string(algorithm)]
	if !ok {
		return nil, errors.New("is signed with an algorithm that is not allowed")
	}
	c := &crl{der: raw, tbs: tbs, algorithm: known, signature: bits[1:]}
	if err := c.parseTBS(content, algorithm); err != nil {
		return nil, err
	}
	return c, nil
}

// parseTBS reads the content of a TBSCertList.
func (c *crl) parseTBS(tbs, outerAlgorithm der) error {
	version, _, err := tbs.Read(tagInteger)
	if err != nil || !bytes.Equal(version, []byte{1}) {
		return errors.New("is not of version 2 (RFC 5280, section 5.1.2.1)")
	}
	_, algorithm, err1 := tbs.Read(tagSequence)
	_, issuer, err2 := tbs.Read(tagSequence)
	thisUpdate, err3 := readTime(&tbs)
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("has a malformed header: %w", err)
	}
	if !bytes.Equal(algorithm, outerAlgorithm) {
		return errors.New("names two different signature algorithms")
	}
	nextUpdate, err := readTime(&tbs)
	if err != nil {
		return errors.New("has no readable nextUpdate, so nobody could tell when it is stale")
	}
	if nextUpdate.Before(thisUpdate) {
		return errors.New("has a nextUpdate before its thisUpdate")
	}
	c.issuer, c.thisUpdate, c.nextUpdate = issuer, thisUpdate, nextUpdate
	if tbs.Peek() == tagSequence {
		entries, _, err := tbs.Read(tagSequence)
		if err != nil {
			return fmt.Errorf("has a malformed list: %w", err)
		}
		if c.entries, err = indexEntries(entries); err != nil {
			return err
		}
	}
	extensions, _, err := tbs.Read(tagContext0)
	if err != nil || len(tbs) > 0 {
		return errors.New("has no extensions, or something behind them")
	}
	return c.parseExtensions(extensions)
}

func (c *crl) parseExtensions(raw der) error {
	var extensions []pkix.Extension
	if rest, err := asn1.Unmarshal(raw, &extensions); err != nil || len(rest) > 0 {
		return errors.New("has malformed extensions")
	}
	seen := make(map[string]bool, len(extensions))
	for _, extension := range extensions {
		oid := extension.Id.String()
		if seen[oid] {
			return fmt.Errorf("has extension %s twice", oid)
		}
		seen[oid] = true
		if err := c.parseExtension(oid, extension); err != nil {
			return err
		}
	}
	if c.number == nil || len(c.keyID) == 0 {
		return errors.New("lacks CRLNumber or authority key identifier (RFC 5280, section 5.2)")
	}
	return nil
}

func (c *crl) parseExtension(oid string, extension pkix.Extension) error {
	switch oid {
	case "2.5.29.35": // authorityKeyIdentifier
		var aki struct {
			KeyID  []byte        `asn1:"optional,tag:0"`
			Issuer asn1.RawValue `asn1:"optional,tag:1"`
			Serial *big.Int      `asn1:"optional,tag:2"`
		}
		if rest, err := asn1.Unmarshal(extension.Value, &aki); err != nil || len(rest) > 0 {
			return errors.New("has a malformed authority key identifier")
		}
		c.keyID = aki.KeyID
	case "2.5.29.20": // cRLNumber
		number := new(big.Int)
		if rest, err := asn1.Unmarshal(extension.Value, &number); err != nil || len(rest) > 0 || number.Sign() < 0 || number.BitLen() > 8*MaxSerialOctets {
			return errors.New("has a malformed CRLNumber")
		}
		c.number = number
	case "2.5.29.27": // deltaCRLIndicator
		return errors.New("is a delta CRL; a full one is needed")
	case "2.5.29.28": // issuingDistributionPoint
		return errors.New("is partitioned or indirect (issuingDistributionPoint); a full one is needed")
	default:
		if extension.Critical {
			return fmt.Errorf("has the critical extension %s, which is not understood here", oid)
		}
	}
	return nil
}

// verifiedBy checks the signature with issuer's key, once for each key.
func (c *crl) verifiedBy(issuer *x509.Certificate) error {
	if issuer.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return errors.New("its issuer may not sign CRLs (keyUsage lacks cRLSign)")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.Equal(c.verified, issuer.RawSubjectPublicKeyInfo) {
		c.verdict = issuer.CheckSignature(c.algorithm, c.tbs, c.signature)
		c.verified = issuer.RawSubjectPublicKeyInfo
	}
	return c.verdict
}

// fresh says whether the CRL may be relied on now.
func (c *crl) fresh(now time.Time) error {
	switch {
	case now.After(c.nextUpdate):
		return fmt.Errorf("stale: the next one was due at %s, the clock here says %s", stamp(c.nextUpdate), stamp(now))
	case now.Add(clockSkew).Before(c.thisUpdate):
		return fmt.Errorf("from the future: it is dated %s, the clock here says %s", stamp(c.thisUpdate), stamp(now))
	default:
		return nil
	}
}

// find looks serial up.
func (c *crl) find(serial *big.Int) (revokedEntry, bool) {
	return c.entries.find(serial)
}

// readTime reads a Time (RFC 5280, section 4.1.2.5): UTCTime until 2049, then GeneralizedTime, both in UTC with seconds.
func readTime(d *der) (time.Time, error) {
	tag, content, _, err := d.Next()
	if err != nil {
		return time.Time{}, err
	}
	switch tag {
	case tagUTCTime:
		t, err := time.Parse("060102150405Z", string(content))
		if err != nil {
			return time.Time{}, errDER
		}
		if t.Year() >= 2050 {
			t = t.AddDate(-100, 0, 0) // time.Parse turns the century at 69, RFC 5280 at 50
		}
		return t, nil
	case tagGeneralizedTime:
		t, err := time.Parse("20060102150405Z", string(content))
		if err != nil {
			return time.Time{}, errDER
		}
		return t, nil
	default:
		return time.Time{}, errDER
	}
}
