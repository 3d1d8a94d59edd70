package main

import (
	"context"
	"fmt"
	"time"

	"github.com/handfast/handfast/bench/internal/load"
	"github.com/handfast/handfast/bench/internal/proc"
	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/bench/internal/stats"
)

const (
	enduranceCount = 1_000_000 // certificates
	enduranceParts = 10        // of them, each with figures of its own
	// enduranceBatch is how many requests are made at a time, before they are sent: some 10 MB.
	enduranceBatch = 10_000
)

// endurance issues a million certificates one after the other, and then looks at how the CA
// starts on that ledger and how it issues while it purges it.
func (s *session) endurance(ctx context.Context) error {
	ours, err := s.startEnduring(ctx)
	if err != nil {
		return err
	}
	parts, err := s.issueMany(ctx, ours)
	if err != nil {
		return err
	}
	if err := s.noteParts(ctx, ours, parts); err != nil {
		return err
	}
	live, err := s.fullDisk(ctx, ours)
	if err != nil {
		return err
	}
	if err := s.starts(ctx, ours, live); err != nil {
		return err
	}
	return s.purging(ctx, ours, stats.Median(s.rates("endurance-rate", report.Ours))/2, live)
}

// startEnduring serves a CA whose certificates outlive the benchmark.
func (s *session) startEnduring(ctx context.Context) (*authority, error) {
	a, err := s.initCA(ctx, s.bin(), report.Ours)
	if err != nil {
		return nil, err
	}
	if err := a.configure("lifetime: 1h ", "lifetime: 48h "); err != nil {
		return nil, err
	}
	if err := s.serveFew(ctx, a); err != nil {
		return nil, err
	}
	return a, a.register(ctx)
}

// serveFew serves a CA whose log is not kept: each certificate is a line of it.
func (s *session) serveFew(ctx context.Context, a *authority) error {
	if err := a.Serve(ctx); err != nil {
		return err
	}
	s.started = append(s.started, a.Process)
	a.Process.KeepFew()
	return nil
}

// tenth is what one of enduranceParts came to.
type tenth struct {
	issued   int     // certificates, with all parts before
	round    round   // of its certificates
	resident float64 // MB, at its end
	disk     float64 // bytes of the ledger for each certificate so far, its log included
}

// issueMany issues the certificates, part by part.
func (s *session) issueMany(ctx context.Context, ours *authority) ([]tenth, error) {
	who := ours.enrolment(s.clients)
	if _, err := s.turn(ctx, who, s.units(2000)); err != nil {
		return nil, err
	}
	units := s.units(enduranceCount / enduranceParts)
	parts := make([]tenth, enduranceParts)
	for i := range parts {
		round, err := s.longRound(ctx, who, units)
		if err != nil {
			return nil, err
		}
		now, _, err := proc.RSS(who.pid)
		if err != nil {
			return nil, err
		}
		disk, err := diskUse(ours.Dir, "ledger.db*")
		if err != nil {
			return nil, err
		}
		issued := units * (i + 1)
		parts[i] = tenth{issued: issued, round: round, resident: float64(now) / 1e6, disk: float64(disk) / float64(issued)}
		s.printf("  %7d certificates: %.0f us each, %.0f a second, p99 %.1f ms, %.0f MB, %.0f bytes on disk each",
			issued, round.cpu, round.rate, round.p99, parts[i].resident, parts[i].disk)
	}
	return parts, nil
}

// longRound is turn for more units than there is memory to prepare at once. Between the batches
// the server's clock goes on, so that what it does behind its replies counts, too.
func (s *session) longRound(ctx context.Context, who contestant, units int) (round, error) {
	before, err := proc.CPU(who.pid)
	if err != nil {
		return round{}, err
	}
	var latencies []time.Duration
	var elapsed time.Duration
	for done := 0; done < units; {
		n := min(enduranceBatch, units-done)
		if err := who.prepare(n); err != nil {
			return round{}, err
		}
		result, err := load.Closed(ctx, s.clients, n, who.do)
		if err != nil {
			return round{}, err
		}
		latencies, elapsed, done = append(latencies, result.Latencies...), elapsed+result.Elapsed, done+n
	}
	after, err := proc.CPU(who.pid)
	if err != nil {
		return round{}, err
	}
	return round{
		cpu:  micro(after-before) / float64(units),
		rate: float64(units) / elapsed.Seconds(),
		p50:  micro(stats.Percentile(latencies, 0.50)) / 1000,
		p99:  micro(stats.Percentile(latencies, 0.99)) / 1000,
	}, nil
}

// noteParts makes the figures of the issuing, and the picture.
func (s *session) noteParts(ctx context.Context, ours *authority, parts []tenth) error {
	_, peak, err := proc.RSS(ours.Process.PID())
	if err != nil {
		return err
	}
	of := func(value func(tenth) float64) []float64 {
		values := make([]float64, len(parts))
		for i, p := range parts {
			values[i] = value(p)
		}
		return values
	}
	cpu, resident := of(func(p tenth) float64 { return p.round.cpu }), of(func(p tenth) float64 { return p.resident })
	one := func(name, what, unit string, values ...float64) {
		s.figure("endurance-"+name, "endurance: "+what, unit, report.NewSeries(report.Ours, values...))
	}
	one("count", "certificates issued one after the other", "certs", float64(parts[len(parts)-1].issued))
	one("cost", "CPU of the server per cert, each tenth of them", "us/cert", cpu...)
	one("first", "CPU of the server per cert, the first tenth", "us/cert", cpu[0])
	one("last", "CPU of the server per cert, the last tenth", "us/cert", cpu[len(cpu)-1])
	one("rate", fmt.Sprintf("throughput with %d clients, each tenth", s.clients), "certs/s", of(func(p tenth) float64 { return p.round.rate })...)
	one("p99", "99th percentile of latency, each tenth", "ms", of(func(p tenth) float64 { return p.round.p99 })...)
	one("resident", "resident memory of the server after each tenth", "MB", resident...)
	one("peak", "peak resident memory of the server", "MB", float64(peak)/1e6)
	s.pictures = append(s.pictures, picture{"endurance", report.Growth{
		Title: fmt.Sprintf("%d certificates, one after the other", parts[len(parts)-1].issued), Across: "certificates",
		At: of(func(p tenth) float64 { return float64(p.issued) }),
		Panels: []report.Panel{
			{Title: "CPU of the server per certificate, us", Values: cpu},
			{Title: "resident memory of the server, MB", Values: resident},
		},
	}.SVG()})
	return nil
}

// fullDisk ends the CA and notes the size of the ledger for each certificate that lives. It
// returns how many do.
func (s *session) fullDisk(ctx context.Context, ours *authority) (int, error) {
	status, err := ours.api.Status(ctx)
	if err != nil {
		return 0, err
	}
	ours.api.Close()
	if err := s.endServers(); err != nil {
		return 0, err
	}
	size, err := diskUse(ours.Dir, "ledger.db*")
	if err != nil {
		return 0, err
	}
	live := status.Live
	s.figure("endurance-disk", "endurance: space on disk per live certificate, with tokens and idempotency keys", "bytes",
		report.NewSeries(report.Ours, float64(size)/float64(live)))
	return live, nil
}
