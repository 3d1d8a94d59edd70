package server_test

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/fleet"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
)

const followerID = "0123456789abcdef0123456789abcdef"

// follower holds the feed as an agent does, and checks all of it.
type follower struct {
	w      *world
	stream *api.FeedStream
	bundle *certs.Bundle
	signer *x509.Certificate
	view   *feed.View
}

// follow opens a stream and reads its first statement.
func (w *world) follow(client *api.Client, since uint64) *follower {
	w.t.Helper()
	bundle, err := certs.NewBundle(w.ca.TrustDomain(), []*x509.Certificate{w.root})
	must(w.t, err)
	stream, err := client.Feed(w.t.Context(), since, followerID)
	must(w.t, err)
	f := &follower{w: w, stream: stream, bundle: bundle}
	w.t.Cleanup(func() { stream.Close() })
	must(w.t, f.next())
	return f
}

// next reads until one more statement is applied.
func (f *follower) next() error {
	for {
		message, err := f.stream.Next()
		if err != nil {
			return err
		}
		if err := f.take(message); err != nil || message.Kind == feed.StatementMessage {
			return err
		}
	}
}

func (f *follower) take(message api.FeedMessage) error {
	snapshot := &certs.Snapshot{Bundle: f.bundle}
	if message.Kind == feed.SignerMessage {
		chain, err := x509.ParseCertificates(message.Payload)
		if err == nil {
			f.signer, err = certs.CheckFeedSigner(chain, snapshot, f.w.clock())
		}
		return err
	}
	statement, err := feed.Open(message.Payload, func(digest [sha256.Size]byte) (*x509.Certificate, error) {
		if f.signer == nil || sha256.Sum256(f.signer.Raw) != digest {
			return nil, errors.New("another signer")
		}
		return f.signer, nil
	})
	if err == nil {
		f.view, err = f.view.Apply(statement, f.w.clock())
	}
	return err
}

func (f *follower) until(is func(*feed.View) bool) {
	f.w.t.Helper()
	for !is(f.view) {
		must(f.w.t, f.next())
	}
}

// What is revoked reaches everybody who follows, its own agent is refused, and the receipt
// counts who has said that it enforces it.
func TestRevocationReachesFollowersAndEndsItsOwnStream(t *testing.T) {
	w := newWorld(t)
	shop, _ := w.enrol(w.register("shop"))
	web, webID := w.enrol(w.register("web"))
	watching, ending := w.follow(shop, 0), w.follow(web, 0)
	must(t, watching.stream.Ack(watching.view.Sequence()))

	serial := webID.serial(t)
	result, err := w.admin.Revoke(t.Context(), &api.RevokeRequest{Serial: serial, Reason: certs.KeyCompromise})
	must(t, err)
	watching.until(func(v *feed.View) bool { return v.Sequence() >= result.Sequence })
	found, ok := watching.view.Find(w.issuer.ID(), serial.Bytes())
	if !ok || !found.Exact || found.Reason != uint8(certs.KeyCompromise) {
		t.Errorf("found %+v, %v", found, ok)
	}
	if p, err := w.admin.Progress(t.Context(), result.Sequence, 0); err != nil || p.Agents != 1 || p.Enforcing != 0 || !p.Known {
		t.Errorf("before the acknowledgement: %+v, %v; want one agent that is not there yet", p, err)
	}
	must(t, watching.stream.Ack(watching.view.Sequence()))
	p, err := w.admin.Progress(t.Context(), result.Sequence, api.MaxWait)
	if err != nil || p.Enforcing != 1 || p.Measured != 1 || p.MedianMS <= 0 || p.Slowest.Service != "shop" {
		t.Errorf("receipt: %+v, %v", p, err)
	}

	for err = nil; err == nil; {
		err = ending.next()
	}
	is(t, err, api.CodeRevoked)
	_, err = web.Feed(t.Context(), 0, followerID)
	is(t, err, api.CodeRevoked)
	_, err = web.FeedPoll(t.Context(), 0, followerID, 0)
	is(t, err, api.CodeRevoked)

	status, err := w.admin.Status(t.Context())
	must(t, err)
	if status.Agents.Known != 1 || status.Agents.Connected != 1 || status.Sequence < result.Sequence {
		t.Errorf("status: %+v at %d", status.Agents, status.Sequence)
	}
	state, err := shop.RevocationOf(t.Context(), w.issuer.ID(), serial.String())
	if err != nil || !state.Revoked || state.Sequence != result.Sequence {
		t.Errorf("the full check: %+v, %v", state, err)
	}
	_, err = shop.RevocationOf(t.Context(), w.issuer.ID(), strings.Repeat("7", 30))
	is(t, err, api.CodeNotFound) // never good
}

func TestPollingBringsTheSameAsAStream(t *testing.T) {
	w := newWorld(t)
	shop, _ := w.enrol(w.register("shop"))
	bundle, err := certs.NewBundle(w.ca.TrustDomain(), []*x509.Certificate{w.root})
	must(t, err)
	f := &follower{w: w, bundle: bundle}
	poll := func() {
		t.Helper()
		list, err := shop.FeedPoll(t.Context(), f.view.Sequence(), followerID, 0)
		must(t, err)
		for _, message := range list {
			must(t, f.take(message))
		}
	}
	poll()
	_, webID := w.enrol(w.register("web"))
	result, err := w.admin.Revoke(t.Context(), &api.RevokeRequest{Serial: webID.serial(t), Reason: certs.Superseded})
	must(t, err)
	for f.view.Sequence() < result.Sequence {
		poll()
	}
	if _, ok := f.view.Find(w.issuer.ID(), webID.serial(t).Bytes()); !ok {
		t.Error("the revocation did not come")
	}
	poll() // naming it acknowledges it
	if a := w.fleet.Agents(); len(a) != 1 || a[0].Sequence < result.Sequence || a[0].State != fleet.Current {
		t.Errorf("agents = %+v", a)
	}
}
