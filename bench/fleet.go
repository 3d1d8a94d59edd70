package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/handfast/handfast/bench/internal/fleet"
	"github.com/handfast/handfast/bench/internal/proc"
	"github.com/handfast/handfast/bench/internal/report"
)

// What the fleet lives through, in parts of a certificate's lifetime. Renewal after 0.4
// of it is what lets an outage of half of it end before the first certificate does.
const (
	fleetRenewal = 0.40
	fleetSteady  = 0.25 // before the outage
	fleetOutage  = 0.50
	fleetAfter   = 0.35 // after it: the herd, and the calm behind it

	fleetAgents   = 100_000
	fleetLifetime = 20 * time.Minute
)

// fleet lets a large fleet live against one CA: steady renewals, an outage of half a
// lifetime, and the herd after it. One-hour certificates are compressed to
// fleetLifetime, so renewals come three times as often as they would.
func (s *session) fleet(ctx context.Context) error {
	lifetime := time.Duration(float64(fleetLifetime) * min(s.scale, 1)).Truncate(time.Minute)
	lifetime = max(lifetime, time.Minute)
	agents := int(float64(fleetAgents) * float64(lifetime) / float64(fleetLifetime)) // the same rate of renewals
	ours, err := s.startFleetCA(ctx, lifetime)
	if err != nil {
		return err
	}
	sim, err := s.enrolFleet(ctx, ours, agents, lifetime)
	if err != nil {
		return err
	}
	s.printf("  %d agents, certificates of %v: %v of calm, an outage of %v, %v after it", agents, lifetime,
		part(lifetime, fleetSteady), part(lifetime, fleetOutage), part(lifetime, fleetAfter))
	marks, err := s.live(ctx, ours, sim, lifetime)
	if err != nil {
		return err
	}
	return s.noteFleet(ours, sim, marks)
}

func part(whole time.Duration, share float64) time.Duration {
	return time.Duration(float64(whole) * share)
}

// startFleetCA serves a CA whose default profile is the fleet's.
func (s *session) startFleetCA(ctx context.Context, lifetime time.Duration) (*authority, error) {
	a, err := s.initCA(ctx, s.bin(), report.Ours)
	if err != nil {
		return nil, err
	}
	if err := a.configure("lifetime: 1h ", fmt.Sprintf("lifetime: %s\n    renew_after: %s ", lifetime, part(lifetime, fleetRenewal))); err != nil {
		return nil, err
	}
	if err := a.Serve(ctx); err != nil {
		return nil, err
	}
	s.started = append(s.started, a.Process)
	return a, a.register(ctx)
}

// enrolFleet enrols all agents over kept connections, and then spreads their next renewals
// as in a fleet that has been up for long.
func (s *session) enrolFleet(ctx context.Context, ours *authority, agents int, lifetime time.Duration) (*fleet.Fleet, error) {
	sim, err := fleet.New(fleet.Config{
		Root: ours.root, Address: ours.API, Service: service, Agents: agents, Life: lifetime, Renewal: part(lifetime, fleetRenewal),
		Token: func() (string, error) { token, _, err := ours.tokens.Mint(service, 0); return token, err },
	})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	var done atomic.Int64
	group, enrolling := errgroup.WithContext(ctx)
	for range s.clients {
		group.Go(func() error { return sim.Enrol(enrolling, &done) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	s.printf("  enrolled %d agents in %v", agents, time.Since(begin).Round(time.Second))
	return sim, nil
}

// marks are what happened when.
type marks struct {
	begin, down, up, end time.Time
	steadyCPU, herdCPU   time.Duration // of the CA's process, before and after the outage
}

// live runs the fleet through its phases.
func (s *session) live(ctx context.Context, ours *authority, sim *fleet.Fleet, lifetime time.Duration) (m marks, err error) {
	living, stop := context.WithCancel(ctx)
	running := make(chan error, 1)
	go func() { running <- sim.Run(living) }()
	defer func() { stop(); err = errors.Join(err, <-running) }()

	m.begin = time.Now()
	if err := wait(ctx, part(lifetime, fleetSteady)); err != nil {
		return m, err
	}
	if m.steadyCPU, err = proc.CPU(ours.Process.PID()); err != nil {
		return m, err
	}
	if err := ours.Process.Kill(); err != nil {
		return m, err
	}
	m.down = time.Now()
	if err := wait(ctx, part(lifetime, fleetOutage)); err != nil {
		return m, err
	}
	if err := ours.Serve(ctx); err != nil {
		return m, err
	}
	s.started = append(s.started, ours.Process)
	m.up = time.Now()
	if err := wait(ctx, part(lifetime, fleetAfter)); err != nil {
		return m, err
	}
	m.end = time.Now()
	m.herdCPU, err = proc.CPU(ours.Process.PID())
	return m, err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// noteFleet makes the figures and the picture.
func (s *session) noteFleet(ours *authority, sim *fleet.Fleet, m marks) error {
	seconds := sim.Timeline(m.begin, m.end)
	// Whole seconds: those in which the CA went and came belong to the outage.
	down, up := int(m.down.Unix()-m.begin.Unix()), int(m.up.Unix()-m.begin.Unix())+1
	calm, herd := fleet.Sum(seconds[:down]), fleet.Sum(seconds[up:])
	_, peak, err := proc.RSS(ours.Process.PID())
	if err != nil {
		return err
	}
	one := func(name, what, unit string, value float64) {
		s.figure("fleet-"+name, "fleet: "+what, unit, report.NewSeries(report.Ours, value))
	}
	one("agents", "agents", "agents", float64(sim.Len()))
	one("calm-rate", "renewals a second, before the outage", "renewals/s", float64(calm.Renewed)/float64(down))
	one("calm-highest", "renewals in the busiest second before the outage", "renewals/s", float64(calm.Busiest))
	one("herd-highest", "renewals in the busiest second after the outage", "renewals/s", float64(herd.Busiest))
	one("herd-over", "time after the outage until nobody was overdue", "s", sim.Settled(m.up).Seconds())
	one("put-off", "requests that the CA put off (429 and 503) after the outage", "requests", float64(herd.PutOff))
	one("failed", "other requests that failed while the CA was up", "requests", float64(calm.Failed+herd.Failed))
	one("expired", "certificates that expired", "certificates", float64(sim.Expired()))
	one("least-left", "least life that a certificate had left when it was renewed", "% of its life", 100*sim.LeastLeft())
	one("herd-cpu", "CPU of the CA per renewal after the outage", "us/renewal", micro(m.herdCPU)/max(float64(herd.Renewed), 1))
	one("memory", "peak resident memory of the CA after the outage", "MB", float64(peak)/1e6)
	s.pictures = append(s.pictures, picture{"fleet", report.Timeline{
		Title: fmt.Sprintf("%d agents, one CA: renewals a second", sim.Len()), Unit: "renewals/s",
		Values: fleet.Renewed(seconds), Shaded: [2]int{down, up}, Label: "CA down",
	}.SVG()})
	return nil
}
