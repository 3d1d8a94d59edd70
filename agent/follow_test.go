package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/agent/certdir"
	"github.com/handfast/handfast/agent/followers"
	"github.com/handfast/handfast/agent/localapi"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
	"github.com/handfast/handfast/internal/socketdir"
)

// Programs that follow an agent over its files and its socket see each rotation, change of policy
// and revocation, and shake hands by it.
func TestProgramsFollowTheAgentOverFilesAndSocket(t *testing.T) {
	ca, log := newFakeCA(t), &logtest.Buffer{}
	ca.callers = []string{ca.id.String()}
	a, _ := start(t, ca.config(log))
	files, socket := beside(t, a)

	follows := func(what string, want certs.Cause) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for {
			serial := mustCurrent(t, a).Certificate.Leaf.SerialNumber.Bytes()
			got, shown, asked := shake(t, files, socket)
			if got == want && bytes.Equal(shown, serial) && bytes.Equal(asked, serial) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: cause %q with certificates %x and %x; want %q with %x", what, got, shown, asked, want, serial)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	waitFor(t, func() bool { return a.Ready() == nil })
	follows("enrolled", "")
	for range 3 {
		if err := a.renew(t.Context(), a.credential()); err != nil {
			t.Fatal(err)
		}
		follows("rotated", "")
	}
	ca.do(func() { ca.callers = nil })
	follows("no callers any more", certs.CausePolicyDenied)
	ca.do(func() { ca.callers = []string{ca.id.String()} })
	follows("a caller again", "")
	ca.do(func() { ca.publishCRL(a.credential().cert.Leaf) })
	follows("revoked", certs.CauseRevoked)
}

// beside runs what stands beside an agent, and follows both.
func beside(t *testing.T, a *Agent, more ...certs.FollowOption) (files, socket *certs.Follower) {
	t.Helper()
	dir, path := filepath.Join(t.TempDir(), "files"), filepath.Join(socketdir.New(t), "s")
	writer, err := certdir.New(certdir.Config{Source: a, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	server, err := localapi.Listen(t.Context(), localapi.Config{Source: a, Followers: a.Followers(), Path: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- writer.Run(ctx) }()
	go func() { done <- server.Serve(ctx) }()
	files, socket = certs.FileSource(dir, certs.PollEvery(5*time.Millisecond)), certs.SocketSource(path, append(more, certs.PollEvery(5*time.Millisecond))...)
	t.Cleanup(func() {
		files.Close()
		socket.Close()
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return files, socket
}

// shake connects a client that follows the socket with a server that follows the files. It returns why
// one refused the other, "" when none did, and which certificates they hold.
func shake(t *testing.T, files, socket *certs.Follower) (cause certs.Cause, shown, asked []byte) {
	t.Helper()
	own, err := files.Current()
	if err != nil {
		return "no files yet", nil, nil
	}
	other, err := socket.Current()
	if err != nil {
		return "no socket yet", nil, nil
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	causes := make(chan certs.Cause, 4)
	note := certs.OnRefusal(func(refusal *certs.Refusal) { causes <- refusal.Cause })
	client := tls.Client(far, certs.ClientConfig(socket, own.ID, note))
	go client.Read(make([]byte, 1)) // shakes hands, and then takes the alert: a pipe holds nothing
	server := tls.Server(near, certs.ServerConfig(files, certs.AllowPolicy(files), note))
	if server.HandshakeContext(t.Context()) != nil {
		cause = <-causes
	}
	return cause, own.Certificate.Leaf.SerialNumber.Bytes(), other.Certificate.Leaf.SerialNumber.Bytes()
}

// A program that follows over the socket holds the acknowledgement back until it enforces what is revoked. Meanwhile the CA
// hears the old position, and Status and metrics say who lags.
func TestAcknowledgementWaitsForProgramsOnTheSocket(t *testing.T) {
	ca, log := newFeedCA(t), &logtest.Buffer{}
	registry := prometheus.NewRegistry()
	cfg := ca.config(log)
	var ahead atomic.Int64
	cfg.Registerer, cfg.Now = registry, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	a, _ := start(t, cfg)
	entered, leave := make(chan struct{}, 8), make(chan struct{})
	beside(t, a, certs.OnLoad(func(snap *certs.Snapshot, _ error) {
		if snap != nil && snap.Revocation.Feed().Sequence() > 1 {
			entered <- struct{}{}
			<-leave
		}
	}))
	ahead.Store(int64(followers.Grace)) // who may have followed a predecessor has not come back
	waitFor(t, func() bool { a.acknowledge(); return a.Ready() == nil && ca.acknowledged() == 1 })
	waitFor(t, func() bool {
		s := a.Status()
		return len(s.Followers) == 1 && s.Followers[0].Enforced == 1
	})
	victim := ca.pki.Certificate(ca.pki.ID("victim"), time.Hour)
	sequence := ca.feed.Revoke(victim.Leaf)
	<-entered
	waitFor(t, func() bool { return judge(t, a, victim) == certs.CauseRevoked })
	if got := ca.acknowledged(); got != 1 {
		t.Errorf("acknowledged %d while the program hangs", got)
	}
	if s := a.Status(); s.Feed.Sequence != sequence || s.Feed.Enforced != 1 || len(s.Followers) != 1 || !s.Followers[0].Lagging {
		t.Errorf("status: %+v, %+v", s.Feed, s.Followers)
	}
	got := gather(t, registry)
	if got["handfast_agent_followers"] != 1 || got["handfast_agent_followers_lagging"] != 1 || got["handfast_agent_followers_lag_seconds"] <= 0 {
		t.Errorf("metrics: %v", got)
	}
	close(leave)
	waitFor(t, func() bool { return ca.acknowledged() == sequence })
	if s := a.Status(); s.Followers[0].Lagging {
		t.Errorf("afterwards: %+v", s.Followers)
	}
}
