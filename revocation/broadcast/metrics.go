package broadcast

import (
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// kind is what a statement brings, for the metrics.
type kind uint8

const (
	heartbeat kind = iota
	entries
	snapshot
)

func (k kind) String() string { return [...]string{"heartbeat", "entries", "snapshot"}[k] }

// metrics count what the Broadcaster does. Labels are categories, never free text.
type metrics struct {
	statements      *prometheus.CounterVec           // signed, by kind
	deliveries      [snapshot + 1]prometheus.Counter // handed to followers, by kind: at hand, because every one counts
	errors          *prometheus.CounterVec           // by step
	sequence        prometheus.Gauge
	signedAt        prometheus.Gauge
	snapshotEntries prometheus.Gauge
	snapshotBytes   prometheus.Gauge
	building        prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, waiting *atomic.Int64) (*metrics, error) {
	options := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "handfast", Subsystem: "feed", Name: name, Help: help}
	}
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(options(name, help)), []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts(options(name, help)))
	}
	m := &metrics{
		statements:      counter("statements_total", "Statements that were signed, by kind.", "kind"),
		errors:          counter("errors_total", "Failed attempts to make a statement, by step.", "step"),
		sequence:        gauge("sequence", "Position up to which statements were made."),
		signedAt:        gauge("signed_timestamp_seconds", "Date of the last statement, as Unix time."),
		snapshotEntries: gauge("snapshot_entries", "Certificates in the last snapshot."),
		snapshotBytes:   gauge("snapshot_bytes", "Size of the last snapshot."),
		building: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "handfast", Subsystem: "feed", Name: "snapshot_seconds",
			Help: "Time to make a snapshot.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
	}
	deliveries := counter("deliveries_total", "Statements that were handed to followers, by kind.", "kind")
	for k := range m.deliveries {
		m.deliveries[k] = deliveries.WithLabelValues(kind(k).String()) // #nosec G115 -- there are three
	}
	followers := prometheus.NewGaugeFunc(prometheus.GaugeOpts(options("followers", "Followers that have been told everything and wait for news.")),
		func() float64 { return float64(waiting.Load()) })
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.statements, deliveries, m.errors, m.sequence, m.signedAt, m.snapshotEntries, m.snapshotBytes, m.building, followers,
	} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("broadcast: register metrics: %w", err)
		}
	}
	return m, nil
}
