package revocation

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/revocation/ocsp"
)

// metrics count what the Publisher does. Labels are categories, never free text.
type metrics struct {
	revoked      prometheus.Gauge
	sequence     prometheus.Gauge
	logErrors    prometheus.Counter
	publications *prometheus.CounterVec // result: ok, log, sign
	publishing   prometheus.Histogram
	fullDelay    prometheus.Observer
	shardDelay   prometheus.Observer
	nextUpdate   prometheus.Gauge
	cached       prometheus.Gauge

	// What is counted in each request is looked up by its label once.
	statuses     [len(statusNames)]prometheus.Counter
	failures     map[ocsp.Failure]prometheus.Counter
	hits, misses prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	options := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "handfast", Subsystem: "revocation", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts(options(name, help)) }
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts(options(name, help)))
	}
	m := &metrics{
		revoked:      gauge("entries", "Entries about certificates that were folded: revoked, held, released."),
		sequence:     gauge("log_sequence", "Sequence number up to which the log was read."),
		logErrors:    prometheus.NewCounter(counter("log_errors_total", "Failed reads of the log.")),
		publications: prometheus.NewCounterVec(counter("publications_total", "Publications of an issuer's CRLs, by result."), []string{"result"}),
		publishing: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "handfast", Subsystem: "revocation", Name: "publication_seconds",
			Help: "Time to encode and sign an issuer's CRLs.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}),
		nextUpdate: gauge("crl_next_update_timestamp_seconds", "Earliest nextUpdate of the full CRLs, as Unix time."),
		cached:     gauge("ocsp_cached_responses", "Signed OCSP responses held in memory."),
	}
	delays := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "handfast", Subsystem: "revocation", Name: "listed_seconds",
		Help:    "Time from when a revocation is known to be durable until the CRLs that list it are served: the full one, the shard.",
		Buckets: []float64{.0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"list"})
	m.fullDelay, m.shardDelay = delays.WithLabelValues("full"), delays.WithLabelValues("shard")
	answers := prometheus.NewCounterVec(counter("ocsp_answers_total", "Certificates answered for, and OCSP errors, by status."), []string{"status"})
	cache := prometheus.NewCounterVec(counter("ocsp_cache_total", "Lookups of cached OCSP responses, by result."), []string{"result"})
	for status, name := range statusNames {
		m.statuses[status] = answers.WithLabelValues(name)
	}
	m.failures = make(map[ocsp.Failure]prometheus.Counter, len(failureNames))
	for failure, name := range failureNames {
		m.failures[failure] = answers.WithLabelValues(name)
	}
	m.hits, m.misses = cache.WithLabelValues("hit"), cache.WithLabelValues("miss")
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.revoked, m.sequence, m.logErrors, m.publications, m.publishing, delays, m.nextUpdate, answers, cache, m.cached,
	} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("revocation: register metrics: %w", err)
		}
	}
	return m, nil
}
