package feed_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net/url"
	"time"

	"github.com/handfast/handfast/certs/feed"
)

// A CA signs a snapshot and a revocation; a holder applies both, and refuses the revocation when it comes alone.
func Example() {
	const issuer = "00112233445566778899aabbccddeeff00112233"
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	key, certificate := signer(now)
	first := &feed.Statement{
		TrustDomain: "prod.example.org", To: 41, SignedAt: now, NextUpdate: now.Add(time.Hour), Issuers: []string{issuer},
		Snapshot: feed.NewSet([]uint64{feed.Hash(issuer, []byte{7})}),
	}
	second := &feed.Statement{
		TrustDomain: "prod.example.org", From: 41, To: 42, SignedAt: now, NextUpdate: now.Add(time.Hour), Issuers: []string{issuer},
		Entries: []feed.Entry{{Sequence: 42, Kind: feed.Revoked, Issuer: issuer, Serial: []byte{8}, Reason: 1, At: now, NotAfter: now.Add(time.Hour)}},
	}

	var view *feed.View
	for _, statement := range []*feed.Statement{second, first, second} {
		signed, err := statement.Sign(key, certificate, nil)
		if err != nil {
			log.Fatal(err)
		}
		// A holder finds the certificate among those that certs.CheckFeedSigner has accepted.
		opened, err := feed.Open(signed, func([32]byte) (*x509.Certificate, error) { return certificate, nil })
		if err != nil {
			log.Fatal(err)
		}
		next, err := view.Apply(opened, now)
		if errors.Is(err, feed.ErrGap) {
			fmt.Println("something is missing: asking for what comes after", view.Sequence())
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		view = next
	}
	for _, serial := range []byte{6, 7, 8} {
		finding, revoked := view.Find(issuer, []byte{serial})
		fmt.Println(serial, revoked, finding.Exact, finding.Sequence)
	}
	// Output:
	// something is missing: asking for what comes after 0
	// 6 false false 0
	// 7 true false 0
	// 8 true true 42
}

func signer(now time.Time) (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: "prod.example.org", Path: "/handfast/feed"}},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		log.Fatal(err)
	}
	return key, certificate
}
