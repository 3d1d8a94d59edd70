package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/handfast/handfast/agent/holder"
	"github.com/handfast/handfast/bench/internal/proc"
	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/certs/feed"
)

const (
	feedAgents = 10_000
	feedIdle   = 20 * time.Second
	victim     = "victim" // the service whose certificates are revoked
)

// feed has many agents follow one CA, and revokes. The agents are the real agents' code
// for the feed, each over a connection of its own, in this process; the figures are the CA's.
// No peer pushes revocations, so there is none to compare with.
func (s *session) feed(ctx context.Context) error {
	ours, err := s.startCA(ctx)
	if err != nil {
		return err
	}
	if _, err := ours.api.PutService(ctx, &api.Service{Name: victim}, 0); err != nil {
		return err
	}
	agents := max(int(feedAgents*s.scale), 1)
	identities, err := ours.enrol(ctx, service, agents)
	if err != nil {
		return err
	}
	before, err := s.startAnew(ctx, ours)
	if err != nil {
		return err
	}
	begin := time.Now()
	stop, err := s.follow(ctx, ours, identities)
	if err != nil {
		return err
	}
	s.cleanup = append(s.cleanup, stop)
	if err := ours.enforcing(ctx, 0, agents); err != nil {
		return err
	}
	s.printf("  %d agents follow the feed after %v", agents, time.Since(begin).Round(time.Second))
	idle, err := s.idleFeed(ctx, ours, agents)
	if err != nil {
		return err
	}
	after, _, err := proc.RSS(ours.Process.PID())
	if err != nil {
		return err
	}
	s.figure("feed-memory", fmt.Sprintf("feed: resident memory of the CA per agent, of %d, its connection included", agents), "KB",
		report.NewSeries(report.Ours, float64(after-before)/1000/float64(agents)))
	return s.revokeRounds(ctx, ours, agents, idle)
}

// startAnew restarts the CA, and returns its resident memory then: what enrolment left is no part of what streams take.
func (s *session) startAnew(ctx context.Context, ours *authority) (int64, error) {
	if err := ours.Process.Stop(); err != nil {
		return 0, err
	}
	if err := ours.Serve(ctx); err != nil {
		return 0, err
	}
	s.started = append(s.started, ours.Process)
	if err := ours.enforcing(ctx, 0, 0); err != nil { // one request, so that what the first one brings is there
		return 0, err
	}
	resident, _, err := proc.RSS(ours.Process.PID())
	return resident, err
}

// follow connects the agents, clients at a time, and returns what ends them.
func (s *session) follow(ctx context.Context, ours *authority, identities []tls.Certificate) (stop func(), err error) {
	following, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	stop = func() { cancel(); running.Wait() }
	room := make(chan struct{}, s.clients)
	for _, identity := range identities {
		listener, err := newListener(ours, identity)
		if err != nil {
			stop()
			return nil, err
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		}
		running.Go(func() { listener.run(following) })
		go func() { // the next one connects when this one has
			listener.waitKnown(following)
			<-room
		}()
	}
	return stop, nil
}

// listener is one agent as far as the feed goes.
type listener struct {
	client *api.Client
	id     string
	holder *holder.Holder
	known  chan struct{} // closed at the first statement
}

func newListener(ours *authority, identity tls.Certificate) (*listener, error) {
	client, err := api.NewClient("https://"+ours.API, ours.clientTLS(identity))
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(identity.Certificate[0])
	if err != nil {
		return nil, err
	}
	identity.Leaf = leaf
	snap, err := certs.NewSnapshot(&identity, []*x509.Certificate{ours.root}, nil, nil)
	if err != nil {
		return nil, err
	}
	var id [api.AgentIDSize / 2]byte
	rand.Read(id[:]) //nolint:errcheck // never fails
	l := &listener{client: client, id: hex.EncodeToString(id[:]), known: make(chan struct{})}
	var once sync.Once
	var verified *x509.Certificate // an agent checks its CA's signer once in a while too
	l.holder = holder.New(holder.Config{
		TrustDomain: trustDomain,
		Signer: func(chain []*x509.Certificate) (*x509.Certificate, error) {
			if verified != nil && verified.Equal(chain[0]) {
				return verified, nil
			}
			verified, err = certs.CheckFeedSigner(chain, snap, time.Now())
			return verified, err
		},
		Publish: func(update holder.Update) {
			once.Do(func() { close(l.known) })
			if refuses(update) {
				l.holder.Acknowledge(update.View.Sequence())
			}
		},
		Refused: func(string) {},
		Delay:   func(int, error) time.Duration { return time.Second },
		Failed:  func(err error, _ time.Duration) { fmt.Println(err) },
		Now:     time.Now,
		Jitter:  func() float64 { return 0.5 },
		Logger:  slog.New(slog.DiscardHandler),
	})
	return l, nil
}

// refuses looks up what has just been revoked, as a handshake would.
func refuses(update holder.Update) bool {
	for _, entry := range update.Entries {
		if _, found := update.View.Find(entry.Issuer, entry.Serial); !found && entry.Kind != feed.Released {
			return false
		}
	}
	return true
}

func (l *listener) run(ctx context.Context) {
	defer l.client.Close()
	l.holder.Run(ctx, l)
}

func (l *listener) waitKnown(ctx context.Context) {
	select {
	case <-l.known:
	case <-ctx.Done():
	}
}

// Stream implements holder.Connection.
func (l *listener) Stream(ctx context.Context, since uint64) (holder.Stream, error) {
	return l.client.Feed(ctx, since, l.id)
}

// Poll implements holder.Connection.
func (l *listener) Poll(ctx context.Context, since uint64, wait time.Duration) ([]api.FeedMessage, error) {
	return l.client.FeedPoll(ctx, since, l.id, wait)
}

// enforcing waits until all agents enforce everything up to sequence.
func (a *authority) enforcing(ctx context.Context, sequence uint64, agents int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		progress, err := a.api.Progress(ctx, sequence, time.Second)
		if err != nil {
			return err
		}
		if progress.Connected >= agents && progress.Enforcing >= agents {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d agents are connected, %d enforce entry %d", progress.Connected, agents, progress.Enforcing, sequence)
		}
	}
}

// idleFeed measures what heartbeats cost the CA, in processor time a second.
func (s *session) idleFeed(ctx context.Context, ours *authority, agents int) (float64, error) {
	before, err := proc.CPU(ours.Process.PID())
	if err != nil {
		return 0, err
	}
	if err := wait(ctx, feedIdle); err != nil {
		return 0, err
	}
	after, err := proc.CPU(ours.Process.PID())
	if err != nil {
		return 0, err
	}
	share := float64(after-before) / float64(feedIdle)
	beats := float64(agents) * feedIdle.Seconds() / holder.Heartbeat.Seconds()
	s.figure("feed-heartbeat-cpu", "feed: CPU of the CA per heartbeat and agent", "us", report.NewSeries(report.Ours, micro(after-before)/beats))
	return share, nil
}

// revokeRounds revokes one certificate after the other and waits for everybody. The CPU of a
// round is what it took beyond the heartbeats of that time.
func (s *session) revokeRounds(ctx context.Context, ours *authority, agents int, idle float64) error {
	var cpu, median, slowest []float64
	for range s.rounds {
		if _, err := ours.enrol(ctx, victim, 1); err != nil {
			return err
		}
		before, err := proc.CPU(ours.Process.PID())
		if err != nil {
			return err
		}
		begin := time.Now()
		result, err := ours.api.Revoke(ctx, &api.RevokeRequest{Service: victim, Reason: certs.KeyCompromise})
		if err != nil {
			return err
		}
		if err := ours.enforcing(ctx, result.Sequence, agents); err != nil {
			return err
		}
		elapsed := time.Since(begin)
		after, err := proc.CPU(ours.Process.PID())
		if err != nil {
			return err
		}
		progress, err := ours.api.Progress(ctx, result.Sequence, 0)
		if err != nil {
			return err
		}
		cpu = append(cpu, (micro(after-before)-idle*micro(elapsed))/float64(agents))
		median, slowest = append(median, progress.MedianMS), append(slowest, progress.SlowestMS)
	}
	s.figure("feed-cpu", "feed: CPU of the CA per revocation and agent, acknowledgement included", "us", report.NewSeries(report.Ours, cpu...))
	s.figure("feed-median", "feed: from durable to acknowledged, the median agent", "ms", report.NewSeries(report.Ours, median...))
	s.figure("feed-slowest", fmt.Sprintf("feed: from durable to acknowledged, the last of %d agents", agents), "ms", report.NewSeries(report.Ours, slowest...))
	return nil
}
