package ca

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/handfast/handfast/ca/api"
)

type metrics struct {
	issued   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	revoked  prometheus.Counter
	seconds  prometheus.Histogram
	purged   prometheus.Counter
	failures *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	factory := promauto.With(registerer)
	return &metrics{
		issued: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_ca_issued_total",
			Help: "Certificates that were recorded and handed out, by kind and by how they were asked for.",
		}, []string{"kind", "method"}),
		refused: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_ca_refused_total",
			Help: "Requests for a certificate or a revocation that were not granted, by error code.",
		}, []string{"code"}),
		revoked: factory.NewCounter(prometheus.CounterOpts{
			Name: "handfast_ca_revoked_total",
			Help: "Certificates that were revoked.",
		}),
		seconds: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "handfast_ca_issue_seconds",
			Help:    "Time from the draft to the durable record, in seconds.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		purged: factory.NewCounter(prometheus.CounterOpts{
			Name: "handfast_ca_purged_total",
			Help: "Rows that the ledger forgot after the retention time.",
		}),
		failures: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_ca_background_failures_total",
			Help: "Failures of the CA's own work, by task: purge, responder.",
		}, []string{"task"}),
	}
}

func (m *metrics) recorded(certificate Certificate, took time.Duration) {
	m.issued.WithLabelValues(string(certificate.Kind), string(certificate.Method)).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) refuse(code api.Code) { m.refused.WithLabelValues(string(code)).Inc() }
