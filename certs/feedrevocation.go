package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

// feedPath is the path of the SPIFFE ID of whoever may sign the feed of revocations.
const feedPath = ReservedPrefix + "/feed"

// oidDocumentSigning is the extended key usage of whoever may sign the feed (RFC 9336).
var oidDocumentSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

// RevocationOption adds to what NewRevocation makes.
type RevocationOption func(*Revocation)

// WithFeed adds what the CA's signed feed says. The certificates of the issuers that view covers are
// judged by it: one that is found is refused, and all are while view is not fresh by maxSilence
// (feed.View.Fresh; 0 is until its nextUpdate). The others are judged by CRLs, and refused too when view finds them. A CRL of a
// covered issuer is not needed, but whoever it lists is refused too. A nil view covers nobody.
func WithFeed(view *feed.View, maxSilence time.Duration) RevocationOption {
	return func(r *Revocation) { r.view, r.maxSilence = view, maxSilence }
}

// WithFeed returns r with another view in place of the one it has. It shares the CRLs, which
// are neither read nor verified again; a nil r is one without any.
func (r *Revocation) WithFeed(view *feed.View, maxSilence time.Duration) *Revocation {
	next := new(Revocation)
	if r != nil {
		*next = *r
	}
	next.feedDigest = [sha256.Size]byte{}
	WithFeed(view, maxSilence)(next)
	return next
}

// Feed returns the view that r judges by; nil when there is none.
func (r *Revocation) Feed() *feed.View {
	if r == nil {
		return nil
	}
	return r.view
}

// MaxSilence returns how long the feed may be silent; 0 is until its nextUpdate.
func (r *Revocation) MaxSilence() time.Duration {
	if r == nil {
		return 0
	}
	return r.maxSilence
}

// covers returns issuer's name in the feed, and whether the feed covers it.
func (r *Revocation) covers(issuer *x509.Certificate) (keyID string, covered bool) {
	if r.view == nil || len(issuer.SubjectKeyId) == 0 {
		return "", false
	}
	keyID = hex.EncodeToString(issuer.SubjectKeyId)
	return keyID, r.view.Covers(keyID)
}

// foundByFeed refuses cert when the feed knows that it is revoked. It may know so of a certificate
// whose issuer it does not cover, such as an intermediate's, which the root's CRL is to
// list: until there is a new one, the feed is the first to tell.
func (r *Revocation) foundByFeed(cert *x509.Certificate, keyID string, now time.Time) *Refusal {
	if keyID == "" {
		return nil
	}
	finding, found := r.view.Find(keyID, cert.SerialNumber.Bytes())
	if !found {
		return nil
	}
	if finding.Exact {
		return refuse(CauseRevoked, cert, now, fmt.Errorf("%s was revoked at %s (%s), says entry %d of the CA's feed", describe(cert), stamp(finding.At), Reason(finding.Reason), finding.Sequence))
	}
	refusal := refuse(CauseRevoked, cert, now, fmt.Errorf("%s is in the compact set of the CA's feed at %d", describe(cert), r.view.Sequence()))
	refusal.Unconfirmed, refusal.IssuerKeyID = true, keyID
	return refusal
}

// checkByFeed judges cert, which an issuer has signed that the feed covers, and which the feed
// has not found.
func (r *Revocation) checkByFeed(cert, issuer *x509.Certificate, now time.Time) *Refusal {
	if refusal := r.listOf(issuer).refuses(cert, issuer, now); refusal != nil {
		return refusal
	}
	if needsNoRevocation(cert) {
		return nil
	}
	if err := r.view.Fresh(now, r.maxSilence); err != nil {
		return refuse(CauseRevocationStale, cert, now, fmt.Errorf("the CA's feed is silent: %w", err))
	}
	return nil
}

// CheckFeedSigner decides whether chain (leaf first, the root left out or not) may sign statements of the
// feed as of now, and returns the leaf: a path to snap's bundle, the identity
// /handfast/feed of its trust domain, the extended key usage documentSigning (RFC 9336), and neither
// the leaf nor an issuer revoked by what snap knows. What snap does not know is no
// obstacle here: the feed itself is what covers its signers. So ask again after each statement that brought
// entries, and drop a signer that is refused then. Every error is a *Refusal.
func CheckFeedSigner(chain []*x509.Certificate, snap *Snapshot, now time.Time) (*x509.Certificate, error) {
	leaf, refusal := checkFeedSigner(chain, snap, now)
	if refusal == nil {
		return leaf, nil
	}
	if len(chain) > 0 && chain[0] != nil {
		refusal.Peer, _ = IDFromCertificate(chain[0])
	}
	if snap != nil {
		refusal.Self = snap.ID
	}
	return nil, refusal
}

func checkFeedSigner(chain []*x509.Certificate, snap *Snapshot, now time.Time) (*x509.Certificate, *Refusal) {
	if snap == nil {
		snap = &Snapshot{}
	}
	paths, refusal := findPaths(chain, snap.Bundle, x509.ExtKeyUsageAny, now)
	if refusal != nil {
		return nil, refusal
	}
	leaf := chain[0]
	id, refusal := checkSVID(leaf, snap.Bundle.td, x509.ExtKeyUsageAny, now)
	if refusal != nil {
		return nil, refusal
	}
	if id.Path() != feedPath {
		return nil, refuse(CauseWrongIdentity, leaf, now, fmt.Errorf("the feed is signed by %s/%s, not by %s", id.TrustDomain(), feedPath, id))
	}
	if !slices.ContainsFunc(leaf.UnknownExtKeyUsage, oidDocumentSigning.Equal) {
		return nil, refuse(CauseBadChain, leaf, now, errors.New("the extended key usage lacks documentSigning (RFC 9336)"))
	}
	var first *Refusal
	for _, path := range paths {
		refusal := checkSignerPath(path, snap, now)
		if refusal == nil {
			return leaf, nil
		}
		if first == nil {
			first = refusal
		}
	}
	return nil, first
}

// checkSignerPath is checkStanding without what is not known about revocation.
func checkSignerPath(path []*x509.Certificate, snap *Snapshot, now time.Time) *Refusal {
	known := *snap
	if known.Revocation == nil {
		known.Revocation = new(Revocation)
	}
	refusal := checkStanding(path, &known, now)
	if refusal != nil && (refusal.Cause == CauseRevocationUnknown || refusal.Cause == CauseRevocationStale) {
		return nil
	}
	return refusal
}

// encodeFeed returns the feed's part of a snapshot on the wire.
func (r *Revocation) encodeFeed() (view []byte, maxSilence int64, err error) {
	if r.view == nil {
		return nil, 0, nil
	}
	view, err = r.view.MarshalBinary()
	return view, r.silenceSeconds(), err
}

func (r *Revocation) silenceSeconds() int64 {
	if r.maxSilence <= 0 {
		return 0
	}
	return max(1, int64(r.maxSilence/time.Second)) // 0 would say something else
}

// decodeFeed returns r with the feed that encodeFeed wrote, taken from old when its bytes are the same.
func (r *Revocation) decodeFeed(data []byte, maxSilence int64, old *Snapshot) (*Revocation, error) {
	if maxSilence < 0 || maxSilence > int64(math.MaxInt64/time.Second) || data == nil && maxSilence != 0 {
		return nil, errors.New("max_silence is out of range, or without a feed")
	}
	if data == nil {
		if r.view == nil {
			return r, nil
		}
		return r.WithFeed(nil, 0), nil
	}
	silence, digest := time.Duration(maxSilence)*time.Second, sha256.Sum256(data)
	if old != nil && old.Revocation != nil && old.Revocation.feedDigest == digest {
		if old.Revocation == r && r.maxSilence == silence {
			return r, nil
		}
		return r.withDecoded(old.Revocation.view, silence, digest), nil
	}
	view, err := feed.ParseView(data)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	return r.withDecoded(view, silence, digest), nil
}

func (r *Revocation) withDecoded(view *feed.View, maxSilence time.Duration, digest [sha256.Size]byte) *Revocation {
	next := r.WithFeed(view, maxSilence)
	next.feedDigest = digest
	return next
}
