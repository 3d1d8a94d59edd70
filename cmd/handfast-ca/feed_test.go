package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/operctx"
)

// listener is an agent's half of the feed: it believes nothing that does not verify.
type listener struct {
	id      string
	client  *api.Client
	bundle  *certs.Bundle
	signers map[[32]byte]*x509.Certificate
	view    *feed.View
}

// newListener enrols a service and connects with its certificate.
func newListener(t *testing.T, r *running, service, id string) (*listener, *api.Issued) {
	t.Helper()
	operator := r.operator(t)
	if _, err := operator.PutService(t.Context(), &api.Service{Name: service}, 0); err != nil {
		t.Fatal(err)
	}
	minted, err := operator.CreateToken(t.Context(), &api.TokenRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	anonymous, err := r.ca.Anonymous()
	if err != nil {
		t.Fatal(err)
	}
	defer anonymous.Close()
	key, csr, err := newRequest()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := anonymous.Enroll(t.Context(), &api.EnrollRequest{Token: minted.Token, CSR: csr}, "")
	if err != nil {
		t.Fatal(err)
	}
	known, err := operctx.Load(r.ca.Context())
	if err != nil {
		t.Fatal(err)
	}
	config, err := certs.PinnedConfig(certs.Fingerprint(known.Roots[0]))
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{{Certificate: issued.Chain, PrivateKey: key}}
	l := &listener{id: id, signers: map[[32]byte]*x509.Certificate{}}
	if l.client, err = api.NewClient(known.CA, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.client.Close)
	td, err := certs.ParseTrustDomain(known.TrustDomain.String())
	if err != nil {
		t.Fatal(err)
	}
	if l.bundle, err = certs.NewBundle(td, known.Roots); err != nil {
		t.Fatal(err)
	}
	return l, issued
}

// take verifies and applies a message.
func (l *listener) take(m api.FeedMessage) error {
	if m.Kind == feed.SignerMessage {
		chain, err := x509.ParseCertificates(m.Payload)
		if err != nil {
			return err
		}
		leaf, err := certs.CheckFeedSigner(chain, &certs.Snapshot{Bundle: l.bundle}, time.Now())
		if err != nil {
			return err
		}
		l.signers[sha256.Sum256(leaf.Raw)] = leaf
		return nil
	}
	s, err := feed.Open(m.Payload, func(signer [32]byte) (*x509.Certificate, error) {
		if l.signers[signer] == nil {
			return nil, errors.New("unknown")
		}
		return l.signers[signer], nil
	})
	if err != nil {
		return err
	}
	l.view, err = l.view.Apply(s, time.Now())
	return err
}

// hears follows until it stands at sequence, and acknowledges. The stream stays open for the test.
func (l *listener) hears(t *testing.T, sequence uint64) {
	t.Helper()
	since := uint64(0)
	if l.view != nil {
		since = l.view.Sequence()
	}
	stream, err := l.client.Feed(t.Context(), since, l.id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() }) //nolint:errcheck // the test is over
	for l.view == nil || l.view.Sequence() < sequence {
		message, err := stream.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := l.take(message); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Ack(l.view.Sequence()); err != nil {
		t.Fatal(err)
	}
}

// The real daemon's feed, from the operator's word to the agent's, across a restart.
func TestTheFeedOfTheDaemon(t *testing.T) {
	t.Parallel()
	ca := copyCA(t)
	daemon := serve(t, ca)
	agent, _ := newListener(t, daemon, "web", strings.Repeat("a1", 16))
	_, victim := newListener(t, daemon, "orders", strings.Repeat("b2", 16))
	leaf, err := x509.ParseCertificate(victim.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	issuer := hex.EncodeToString(leaf.AuthorityKeyId)
	agent.hears(t, 1)
	if !agent.view.Covers(issuer) || agent.view.Version("policy") == "" {
		t.Errorf("the feed does not cover %s, or announces no versions", issuer)
	}
	if _, found := agent.view.Find(issuer, leaf.SerialNumber.Bytes()); found {
		t.Error("revoked before it was")
	}
	revoked, err := daemon.operator(t).Revoke(t.Context(), &api.RevokeRequest{Service: "orders", Reason: certs.KeyCompromise})
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.stop(); err != nil {
		t.Fatal(err)
	}
	daemon = serve(t, ca)
	agent.hears(t, revoked.Sequence)
	if finding, found := agent.view.Find(issuer, leaf.SerialNumber.Bytes()); !found || !finding.Exact || certs.Reason(finding.Reason) != certs.KeyCompromise {
		t.Errorf("%+v, %v", finding, found)
	}
	progress, err := daemon.operator(t).Progress(t.Context(), revoked.Sequence, api.MaxWait)
	if err != nil || progress.Enforcing != 1 || len(progress.Pending) != 0 {
		t.Errorf("%+v, %v", progress, err)
	}
}
