package ca

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/issuer"
	"github.com/handfast/handfast/revocation"
)

type metrics struct {
	issued   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	revoked  prometheus.Counter
	held     prometheus.Counter
	released prometheus.Counter
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
		held: factory.NewCounter(prometheus.CounterOpts{
			Name: "handfast_ca_held_total",
			Help: "Certificates that were put on hold.",
		}),
		released: factory.NewCounter(prometheus.CounterOpts{
			Name: "handfast_ca_released_total",
			Help: "Certificates that were released from hold.",
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
			Help: "Failures of the CA's own work, by task: purge, responder, feed_signer.",
		}, []string{"task"}),
	}
}

// changed counts n certificates that were revoked, held or released.
func (m *metrics) changed(kind revocation.Kind, n int) {
	counter := m.revoked
	switch kind {
	case revocation.Held:
		counter = m.held
	case revocation.Released:
		counter = m.released
	}
	counter.Add(float64(n))
}

// registerState registers what is read from the CA when somebody asks: whether it is ready and
// when its authorities expire.
func (c *CA) registerState(registerer prometheus.Registerer) {
	factory := promauto.With(registerer)
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "handfast_ca_ready",
		Help: "1 when the CA can issue, revoke and publish; 0 when /readyz says what is wrong.",
	}, func() float64 {
		if len(c.Ready(context.Background())) > 0 {
			return 0
		}
		return 1
	})
	if registerer != nil {
		registerer.MustRegister(authorityExpiry{c})
	}
}

var authorityNotAfter = prometheus.NewDesc("handfast_ca_authority_not_after_seconds",
	"When an issuing certificate or a root expires, in seconds since 1970.", []string{"kind", "key_id"}, nil)

// authorityExpiry follows the authorities through an Exchange.
type authorityExpiry struct{ ca *CA }

// Describe implements prometheus.Collector.
func (e authorityExpiry) Describe(descs chan<- *prometheus.Desc) { descs <- authorityNotAfter }

// Collect implements prometheus.Collector.
func (e authorityExpiry) Collect(collected chan<- prometheus.Metric) {
	a := e.ca.authorities.Load()
	send := func(kind string, cert *x509.Certificate) {
		collected <- prometheus.MustNewConstMetric(authorityNotAfter, prometheus.GaugeValue,
			float64(cert.NotAfter.Unix()), kind, issuer.KeyID(cert))
	}
	for _, s := range a.signings {
		send("issuer", s.issuer.Certificate())
	}
	for _, root := range a.roots {
		send("root", root)
	}
}

func (m *metrics) recorded(certificate Certificate, took time.Duration) {
	m.issued.WithLabelValues(string(certificate.Kind), string(certificate.Method)).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) refuse(code api.Code) { m.refused.WithLabelValues(string(code)).Inc() }
