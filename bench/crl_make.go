package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/internal/harness"
)

const (
	crlEntries = 1_000_000
	crlMany    = 5 * crlEntries
	crlShards  = 64
)

// crlMake has new full CRLs made after one more revocation, each contestant in a process of its own:
// our publisher on a log of a million, without shards and with them, beside x509.CreateRevocationList with the
// same entries; then with five million, where the machine has the memory for bare Go. It makes one list, because the garbage of another would count as its memory.
func (s *session) crlMake(ctx context.Context) error {
	million := s.units(crlEntries)
	const first = 10 // of our lists: each is cheap, and what a process costs is its start
	runs := []struct {
		figure, what string
		who          []maker
	}{
		{"crl-make", fmt.Sprintf("a new full CRL of %d entries after a revocation", million), []maker{
			{report.Ours, million, 0, first}, {"bare-go", million, 0, 1},
		}},
		{"crl-make-shards", fmt.Sprintf("the same with %d shards", crlShards), []maker{{report.Ours, million, crlShards, first}}},
		{"crl-make-5", fmt.Sprintf("a new full CRL of %d entries after a revocation", s.units(crlMany)), []maker{
			{report.Ours, s.units(crlMany), 0, first}, {"bare-go", s.units(crlMany), 0, 1},
		}},
	}
	for _, r := range runs {
		var cpu, peak []report.Series
		for _, m := range r.who {
			costs, memory, err := s.made(ctx, m)
			if err != nil {
				if m.name != report.Ours {
					s.printf("  %s: %s made no list and is left out: %v", r.figure, m.name, err)
					continue
				}
				return err
			}
			cpu, peak = append(cpu, report.NewSeries(m.name, costs...)), append(peak, report.NewSeries(m.name, memory))
		}
		s.figure(r.figure+"-cpu", r.figure+": CPU of "+r.what, "ms", cpu...)
		s.figure(r.figure+"-memory", r.figure+": peak resident memory of the process that makes it", "MB", peak...)
	}
	return nil
}

// maker is who makes CRLs, of how many entries, in how many shards, how often.
type maker struct {
	name                    string
	revoked, shards, rounds int
}

// made runs a maker to its end.
func (s *session) made(ctx context.Context, m maker) (costs []float64, peak float64, err error) {
	who := m.name
	if who == report.Ours {
		who = "ours"
	}
	out, err := harness.Run(ctx, nil, s.program("crlmake"), who, strconv.Itoa(m.revoked), strconv.Itoa(m.shards), strconv.Itoa(m.rounds))
	if err != nil {
		return nil, 0, err
	}
	for line := range strings.Lines(out) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, 0, err
		}
		if name == "peak" {
			peak = value
			continue
		}
		costs = append(costs, value)
	}
	return costs, peak, nil
}
