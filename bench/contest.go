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

// contestant is a server under load. Ours stands first in every contest.
type contestant struct {
	name    string
	pid     int
	prepare func(units int) error // before the clock starts; may be nil
	do      load.Do
}

// contest is one comparison: the same work, in turns.
type contest struct {
	name    string  // "issue": its figures are issue-cpu, issue-rate, ...
	unit    string  // "certificate": what one unit is called
	units   int     // a round
	per     float64 // units in one of the figure's units; 0 is 1
	what    string  // of the CPU figure; "" is "CPU of the server per UNIT"
	cpuUnit string  // "" is us/UNIT
	memory  bool    // whether peak memory is worth a figure
	rates   bool    // whether throughput and latency are
}

// round is what one turn came to.
type round struct{ cpu, rate, p50, p99 float64 } // µs a unit, units/s, ms, ms

// hold runs a contest: one warm-up for each, then the rounds, beginning each round with
// another contestant, so that whatever disturbs the machine disturbs all.
func (s *session) hold(ctx context.Context, c contest, who ...contestant) error {
	for _, w := range who {
		if _, err := s.turn(ctx, w, max(c.units/4, s.clients)); err != nil {
			return fmt.Errorf("%s: %s, warming up: %w", c.name, w.name, err)
		}
	}
	results := make([][]round, len(who))
	for i := range s.rounds {
		for j := range who {
			k := (i + j) % len(who)
			r, err := s.turn(ctx, who[k], c.units)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", c.name, who[k].name, err)
			}
			results[k] = append(results[k], r)
		}
	}
	s.note(c, who, results)
	if c.memory {
		return s.memory(c, who)
	}
	return nil
}

// turn is one contestant's round.
func (s *session) turn(ctx context.Context, who contestant, units int) (round, error) {
	if who.prepare != nil {
		if err := who.prepare(units); err != nil {
			return round{}, err
		}
	}
	before, err := proc.CPU(who.pid)
	if err != nil {
		return round{}, err
	}
	result, err := load.Closed(ctx, s.clients, units, who.do)
	if err != nil {
		return round{}, err
	}
	after, err := proc.CPU(who.pid)
	if err != nil {
		return round{}, err
	}
	return round{
		cpu:  micro(after-before) / float64(units),
		rate: result.Rate(),
		p50:  micro(stats.Percentile(result.Latencies, 0.50)) / 1000,
		p99:  micro(stats.Percentile(result.Latencies, 0.99)) / 1000,
	}, nil
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// note turns rounds into figures.
func (s *session) note(c contest, who []contestant, results [][]round) {
	per := c.per
	if per == 0 {
		per = 1
	}
	what, cpuUnit := c.what, c.cpuUnit
	if what == "" {
		what = "CPU of the server per " + c.unit
	}
	if cpuUnit == "" {
		cpuUnit = "us/" + c.unit
	}
	type column struct {
		suffix, what, unit string
		value              func(round) float64
	}
	columns := []column{{"cpu", what, cpuUnit, func(r round) float64 { return r.cpu * per }}}
	if c.rates {
		columns = append(columns,
			column{"rate", fmt.Sprintf("throughput with %d clients", s.clients), c.unit + "s/s", func(r round) float64 { return r.rate }},
			column{"p50", "median latency", "ms", func(r round) float64 { return r.p50 }},
			column{"p99", "99th percentile of latency", "ms", func(r round) float64 { return r.p99 }},
		)
	}
	for _, column := range columns {
		series := make([]report.Series, len(who))
		for i, w := range who {
			values := make([]float64, len(results[i]))
			for j, r := range results[i] {
				values[j] = column.value(r)
			}
			series[i] = report.NewSeries(w.name, values...)
		}
		s.figure(c.name+"-"+column.suffix, c.name+": "+column.what, column.unit, series...)
	}
}

// memory notes the peak of each contestant's resident memory.
func (s *session) memory(c contest, who []contestant) error {
	series := make([]report.Series, len(who))
	for i, w := range who {
		_, peak, err := proc.RSS(w.pid)
		if err != nil {
			return err
		}
		series[i] = report.NewSeries(w.name, float64(peak)/1e6)
	}
	s.figure(c.name+"-memory", c.name+": peak resident memory of the server", "MB", series...)
	return nil
}

// figure notes a figure; ours is the first series.
func (s *session) figure(name, what, unit string, series ...report.Series) {
	f := report.Figure{Bench: s.now, Name: name, What: what, Unit: unit, Taken: time.Now().UTC().Truncate(time.Second), Series: series}
	for _, line := range f.Lines() {
		s.printf("  %s", line)
	}
	s.figures = append(s.figures, f)
}
