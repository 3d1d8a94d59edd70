package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/bench/internal/load"
	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/bench/internal/stats"
)

const (
	// agedShare of the certificates are made to have expired, with their tokens and keys.
	agedShare = 2
	// purgeWindow is how long latency is looked at, with and without a purge, at the usual scale.
	purgeWindow  = 10 * time.Second
	purgePatient = 3 * time.Minute
	// purgeSpeed is more rows than a purge deletes in a second: it must not end before the window does.
	purgeSpeed   = 8000
	purgedMetric = "handfast_ca_purged_total"
)

// window is purgeWindow at the session's scale.
func (s *session) window() time.Duration {
	return max(time.Duration(float64(purgeWindow)*min(s.scale, 1)), time.Second)
}

// purging compares the latency of issuing at rate while the CA purges its ledger with that
// before, in rounds. Each round begins with a start of the CA, which purges for the first
// time a while after it.
func (s *session) purging(ctx context.Context, ours *authority, rate float64, live int) error {
	if needed := purgeSpeed * s.rounds * int((s.window() + 2*time.Second).Seconds()); 3*live/agedShare < needed {
		s.printf("  %d certificates are too few to look at a purge of a part of them", live)
		return nil
	}
	if err := age(ctx, filepath.Join(ours.Dir, "ledger.db"), live/agedShare); err != nil {
		return fmt.Errorf("make certificates expire: %w", err)
	}
	usual, busy, rows := make([]float64, s.rounds), make([]float64, s.rounds), make([]float64, s.rounds)
	for i := range s.rounds {
		var err error
		if usual[i], busy[i], rows[i], err = s.purgeRound(ctx, ours, rate); err != nil {
			return err
		}
		s.printf("  p99 %.1f ms, and %.1f ms while %.0f rows were purged", usual[i], busy[i], rows[i])
	}
	s.figure("endurance-purge", fmt.Sprintf("endurance: 99th percentile of latency at half load (%.0f a second) while rows are purged", rate), "ms",
		report.NewSeries(report.Ours, busy...), report.NewSeries("without a purge", usual...))
	s.figure("endurance-purged", "endurance: rows purged meanwhile", "rows", report.NewSeries(report.Ours, rows...))
	return nil
}

// age puts the times of the oldest n certificates, and of as many one-time ids and idempotency
// keys, back by a year: nothing else makes them expire within the benchmark. Their places in
// tables and indexes stay as issuing has made them, except in the indexes by expiry.
func age(ctx context.Context, path string, n int) error {
	const year = 365 * 24 * 60 * 60
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		return err
	}
	for _, statement := range []string{
		`UPDATE certificates SET not_before = not_before - ?1, issued_at = issued_at - ?1, not_after = not_after - ?1
			WHERE seq IN (SELECT c.seq FROM certificates c JOIN subjects s ON s.id = c.subject WHERE s.kind = 'service' ORDER BY c.seq LIMIT ?2)`,
		"UPDATE one_time SET expires_at = expires_at - ?1 WHERE id IN (SELECT id FROM one_time ORDER BY id LIMIT ?2)",
		"UPDATE idempotency SET expires_at = expires_at - ?1 WHERE key IN (SELECT key FROM idempotency ORDER BY key LIMIT ?2)",
	} {
		if _, err := db.ExecContext(ctx, statement, year, n); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

// purgeRound returns the 99th percentiles in ms, before a purge and during it, and how many
// rows that deleted meanwhile.
func (s *session) purgeRound(ctx context.Context, ours *authority, rate float64) (usual, busy, rows float64, err error) {
	if err := s.serveFew(ctx, ours); err != nil {
		return 0, 0, 0, err
	}
	if ours.api, err = ours.Client(); err != nil {
		return 0, 0, 0, err
	}
	defer ours.api.Close()
	who := ours.enrolment(s.clients)
	if _, err := s.turn(ctx, who, s.windowUnits(rate/4)); err != nil { // its caches are cold
		return 0, 0, 0, err
	}
	if usual, err = s.pacedP99(ctx, who, rate, nil); err != nil {
		return 0, 0, 0, err
	}
	if begun, err := ours.purged(ctx); err != nil {
		return 0, 0, 0, err
	} else if begun > 0 {
		return 0, 0, 0, errors.New("a purge has begun too early, so the usual latency is not known: use a smaller -scale")
	}
	var from float64
	busy, err = s.pacedP99(ctx, who, rate, func() (err error) {
		from, err = ours.waitPurge(ctx)
		return err
	})
	if err != nil {
		return 0, 0, 0, err
	}
	to, err := ours.stillPurging(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	return usual, busy, to - from, s.endServers()
}

// pacedP99 is the 99th percentile of latency in ms at rate for a window that begins when begin,
// if any, has returned.
func (s *session) pacedP99(ctx context.Context, who contestant, rate float64, begin func() error) (float64, error) {
	units := s.windowUnits(rate)
	if err := who.prepare(units); err != nil {
		return 0, err
	}
	if begin != nil {
		if err := begin(); err != nil {
			return 0, err
		}
	}
	result, err := load.Paced(ctx, s.clients, units, rate, who.do)
	if err != nil {
		return 0, err
	}
	return micro(stats.Percentile(result.Latencies, 0.99)) / 1000, nil
}

// windowUnits is how many units are due in a window.
func (s *session) windowUnits(rate float64) int { return max(int(rate*s.window().Seconds()), 1) }

// waitPurge waits until the CA purges, and returns how many rows it has purged.
func (a *authority) waitPurge(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, purgePatient)
	defer cancel()
	for {
		rows, err := a.purged(ctx)
		if err != nil || rows > 0 {
			return rows, err
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return 0, fmt.Errorf("the CA does not purge: %w", err)
		}
	}
}

// stillPurging returns how many rows the CA has purged, and fails if the purge has ended.
func (a *authority) stillPurging(ctx context.Context) (float64, error) {
	rows, err := a.purged(ctx)
	if err != nil {
		return 0, err
	}
	if err := wait(ctx, time.Second); err != nil {
		return 0, err
	}
	later, err := a.purged(ctx)
	if err == nil && later == rows {
		err = errors.New("the purge has ended before the measurement did: a larger -scale gives it more rows")
	}
	return rows, err
}

// purged is how many rows the CA has purged since its start.
func (a *authority) purged(ctx context.Context) (float64, error) {
	text, err := a.api.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	return metric(text, purgedMetric)
}

// metric is the value of a metric without labels in Prometheus's text format.
func metric(text []byte, name string) (float64, error) {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the CA's metrics have no %s", name)
}
