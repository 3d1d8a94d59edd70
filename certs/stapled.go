package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// checkStapled holds what a peer stapled in its handshake, nil without, against the leaf of its
// verified path. A peer may know sooner than our CRLs that it is revoked. The
// word of a responder that known says is revoked counts for nothing.
func checkStapled(response []byte, path []*x509.Certificate, known *Revocation, memo *stapleMemo, now time.Time) *Refusal {
	leaf, issuer := path[0], path[1]
	if len(response) == 0 {
		if !MustStaple(leaf) {
			return nil
		}
		return refuse(CauseStapleMissing, leaf, now, fmt.Errorf("%s demands that an OCSP response is stapled to it (RFC 7633), and none was; can the peer reach the OCSP responder?", describe(leaf)))
	}
	_, responder, refusal := checkStaple(response, leaf, issuer, memo, now)
	if refusal != nil || responder == nil {
		return refusal
	}
	if doubt := known.checkOne(responder, issuer, now); doubt != nil && doubt.Cause == CauseRevoked {
		return refuse(CauseStapleInvalid, leaf, now, fmt.Errorf("the OCSP response that is stapled to %s is signed by a responder that may not: %w", describe(leaf), doubt.Err))
	}
	return nil
}

// stapled returns the certificate to show now: without a staple that peers would refuse as
// stale, and not at all when it demands one.
func (s *Snapshot) stapled(now time.Time) (*tls.Certificate, *Refusal) {
	own := s.Certificate
	if len(own.OCSPStaple) > 0 {
		parsed, err := parseStaple(own.OCSPStaple)
		if err == nil && !now.After(parsed.nextUpdate) {
			return own, nil
		}
		bare := *own
		bare.OCSPStaple = nil
		own = &bare
	}
	if !MustStaple(own.Leaf) {
		return own, nil
	}
	refusal := refuse(CauseOwnCertificate, own.Leaf, now, errors.New("it demands that an OCSP response is stapled to it (RFC 7633), and there is none that is still valid; can this host reach the OCSP responder?"))
	refusal.Self = s.ID
	return nil, refusal
}

// checkStapleFits refuses a staple of an own certificate that is another certificate's. The peers
// check the rest; an old one is left out at the handshake.
func checkStapleFits(staple []byte, leaf *x509.Certificate) error {
	if len(staple) == 0 {
		return nil
	}
	parsed, err := parseStaple(staple)
	if err != nil {
		return fmt.Errorf("the staple %w", err)
	}
	if !bytes.Equal(parsed.serial, leaf.SerialNumber.Bytes()) || !bytes.Equal(parsed.nameHash, hashOf(parsed.hash, leaf.RawIssuer)) {
		return errors.New("the staple is about another certificate")
	}
	return nil
}

// readStaple reads the staple of leaf, nil when there is none.
func readStaple(dir string, leaf *x509.Certificate) ([]byte, error) {
	staple, err := readLimited(dir, StapleFile, MaxStapleSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = checkStapleFits(staple, leaf)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, StapleFile), err)
	}
	return staple, nil
}
