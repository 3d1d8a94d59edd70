package testpki

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
)

// oidDocumentSigning is what may sign a feed (RFC 9336).
var oidDocumentSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

// Feed is the feed of a PKI. It is safe for concurrent use.
type Feed struct {
	pki *PKI
	key crypto.Signer

	mu       sync.Mutex
	Signer   *x509.Certificate
	Valid    time.Duration // of a statement
	versions []feed.Version
	entries  []feed.Entry
	kept     uint64 // entries up to here are forgotten: who stands before gets a snapshot
	sequence uint64
	changed  chan struct{}
}

// NewFeed makes a feed at sequence 1, without entries.
func (p *PKI) NewFeed() *Feed {
	f := &Feed{pki: p, key: NewKey(p.t), Valid: 24 * time.Hour, sequence: 1, changed: make(chan struct{})}
	f.Signer = p.FeedSigner(p.ID("handfast/feed"), f.key.Public())
	return f
}

// Certify gives the feed's key a certificate of another identity.
func (f *Feed) Certify(id certs.ID) { f.Signer = f.pki.FeedSigner(id, f.key.Public()) }

// FeedSigner certifies a key for signing feeds, under any identity.
func (p *PKI) FeedSigner(id certs.ID, public crypto.PublicKey) *x509.Certificate {
	now := p.Now()
	return p.sign(&x509.Certificate{
		SerialNumber: serial(), URIs: []*url.URL{id.URL()},
		NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidDocumentSigning},
		BasicConstraintsValid: true,
	}, p.Issuing, public, p.issueKey)
}

// Changed is closed at the next change.
func (f *Feed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *Feed) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Revoke adds an entry and returns its sequence number.
func (f *Feed) Revoke(cert *x509.Certificate) uint64 { return f.Add(cert, feed.Revoked) }

// Add adds an entry of a kind.
func (f *Feed) Add(cert *x509.Certificate, kind feed.Kind) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sequence++
	f.entries = append(f.entries, feed.Entry{
		Sequence: f.sequence, Kind: kind, Issuer: f.pki.IssuerID(), Serial: cert.SerialNumber.Bytes(), Reason: 4,
		At: f.pki.Now().UTC().Truncate(time.Second), NotAfter: cert.NotAfter.UTC(),
	})
	f.tell()
	return f.sequence
}

// Forget drops the entries so far: who has not seen them gets a snapshot.
func (f *Feed) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = f.sequence
}

// Rewind is a CA that runs on an old copy of its ledger.
func (f *Feed) Rewind(sequence uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sequence = sequence
	f.tell()
}

// SetVersions says what is current.
func (f *Feed) SetVersions(versions ...feed.Version) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.versions = versions
	f.tell()
}

// Sequence is where the feed stands.
func (f *Feed) Sequence() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sequence
}

// Statement is what the CA tells who stands at since.
func (f *Feed) Statement(since uint64) *feed.Statement {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.pki.Now().UTC().Truncate(time.Millisecond)
	s := &feed.Statement{
		TrustDomain: f.pki.TD.String(), From: since, To: f.sequence, SignedAt: now, NextUpdate: now.Add(f.Valid),
		Versions: slices.Clone(f.versions), Issuers: []string{f.pki.IssuerID()},
	}
	if s.From > s.To {
		s.From = s.To // a copy of the ledger that does not know better
	}
	if since == 0 || since < f.kept {
		s.From, s.Snapshot = 0, f.set()
		return s
	}
	for _, entry := range f.entries {
		if entry.Sequence > since && entry.Sequence <= f.sequence {
			s.Entries = append(s.Entries, entry)
		}
	}
	return s
}

// set is everything that is revoked. mu is held.
func (f *Feed) set() *feed.Set {
	listed := make(map[uint64]bool)
	for _, entry := range f.entries {
		listed[feed.Hash(entry.Issuer, entry.Serial)] = entry.Kind != feed.Released
	}
	var hashes []uint64
	for hash, yes := range listed {
		if yes {
			hashes = append(hashes, hash)
		}
	}
	return feed.NewSet(hashes)
}

// Chain is the message that introduces the signer.
func (f *Feed) Chain() api.FeedMessage {
	return api.FeedMessage{Kind: feed.SignerMessage, Payload: slices.Concat(f.Signer.Raw, f.pki.Issuing.Raw)}
}

// Message signs a statement.
func (f *Feed) Message(s *feed.Statement) api.FeedMessage {
	signed, err := s.Sign(f.key, f.Signer, nil)
	if err != nil {
		panic(err)
	}
	return api.FeedMessage{Kind: feed.StatementMessage, Payload: signed}
}
