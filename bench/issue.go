package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/handfast/handfast/bench/internal/load"
	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/bench/internal/stats"
)

// issue compares first certificates: one-time token and CSR over kept HTTPS, durable
// before the reply.
func (s *session) issue(ctx context.Context) error {
	ours, err := s.startCA(ctx)
	if err != nil {
		return err
	}
	peer, err := s.startStepCA(ctx)
	if err != nil {
		return err
	}
	if err := s.sameProfile(ctx, ours, peer); err != nil {
		return err
	}
	base, err := s.startBase(ctx)
	if err != nil {
		return err
	}
	contestants := []contestant{ours.enrolment(s.clients), peer.enrolment(s.clients)}
	signer, err := s.startCFSSLSigner(ctx)
	if err != nil {
		return err
	}
	contestants = append(contestants, signer)
	if base != nil {
		contestants = append(contestants, base.enrolment(s.clients))
	}
	units := s.units(2000)
	if err := s.hold(ctx, contest{name: "issue", unit: "cert", units: units, memory: true, rates: true}, contestants...); err != nil {
		return err
	}
	if err := s.halfLoad(ctx, contestants, units); err != nil {
		return err
	}
	if err := s.issueHTTP2(ctx, ours, peer, base); err != nil {
		return err
	}
	return s.disk(ctx, ours, peer)
}

// sameProfile fails unless both CAs put the same names and lifetime into a certificate.
func (s *session) sameProfile(ctx context.Context, ours *authority, peer *stepCA) error {
	own, err := ours.enrol(ctx, service, 1)
	if err != nil {
		return err
	}
	theirs, err := peer.enrol(ctx, 1)
	if err != nil {
		return err
	}
	var leaves [2]*x509.Certificate
	for i, chain := range [][]tls.Certificate{own, theirs} {
		if leaves[i], err = x509.ParseCertificate(chain[0].Certificate[0]); err != nil {
			return err
		}
		lifetime := leaves[i].NotAfter.Sub(leaves[i].NotBefore)
		if len(leaves[i].URIs) != 1 || leaves[i].URIs[0].String() != serviceID || len(leaves[i].DNSNames) != 1 ||
			lifetime < time.Hour || lifetime > time.Hour+2*time.Minute || len(leaves[i].ExtKeyUsage) != 2 {
			return fmt.Errorf("certificate %d has names %v %v, usages %v, lifetime %v: the profiles differ",
				i, leaves[i].URIs, leaves[i].DNSNames, leaves[i].ExtKeyUsage, lifetime)
		}
	}
	s.printf("  one certificate is %d bytes of ours, %d of step-ca's", len(leaves[0].Raw), len(leaves[1].Raw))
	return nil
}

// disk is what a certificate takes on disk, of servers that have ended: what their logs
// still held is then where it stays. Both have issued the same number.
func (s *session) disk(ctx context.Context, ours *authority, peer *stepCA) error {
	status, err := ours.api.Status(ctx)
	if err != nil {
		return err
	}
	ours.api.Close()
	if err := s.end(); err != nil {
		return err
	}
	own, err := diskUse(ours.Dir, "ledger.db*")
	if err != nil {
		return err
	}
	theirs, err := diskUse(filepath.Join(peer.dir, "db"), "*")
	if err != nil {
		return err
	}
	live := float64(status.Live)
	s.figure("issue-disk", "issue: space on disk per live certificate, with tokens and idempotency keys", "bytes",
		report.NewSeries(report.Ours, float64(own)/live), report.NewSeries("step-ca", float64(theirs)/live))
	return nil
}

// diskUse is the space that files of dir take, as allocated: badger's files have holes.
func diskUse(dir, pattern string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		if ok, err := filepath.Match(pattern, entry.Name()); err != nil || !ok {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		sum += allocated(info)
		return nil
	})
	return sum, err
}

// halfLoad measures latency at half of the throughput that each one had just now.
func (s *session) halfLoad(ctx context.Context, who []contestant, units int) error {
	units = max(units/2, 1)
	rounds := make([][]float64, len(who))
	for range s.rounds {
		for i, w := range who {
			if err := w.prepare(units); err != nil {
				return err
			}
			rate := stats.Median(s.rates("issue-rate", w.name)) / 2
			result, err := load.Paced(ctx, s.clients, units, rate, w.do)
			if err != nil {
				return err
			}
			rounds[i] = append(rounds[i], micro(stats.Percentile(result.Latencies, 0.99))/1000)
		}
	}
	series := make([]report.Series, len(who))
	for i, w := range who {
		series[i] = report.NewSeries(w.name, rounds[i]...)
	}
	s.figure("issue-half-load-p99", "issue: 99th percentile of latency at half of each one's throughput", "ms", series...)
	return nil
}

// rates returns a contestant's rounds of a figure of this run.
func (s *session) rates(figure, who string) []float64 {
	for _, f := range s.figures {
		if f.Name != figure {
			continue
		}
		for _, series := range f.Series {
			if series.Who == who {
				return series.Rounds
			}
		}
	}
	return nil
}
