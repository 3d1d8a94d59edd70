package server

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var errPanicked = errors.New("a handler panicked")

// metrics are documented in docs/operations.md. Labels are the table's routes and HTTP
// statuses, never anything that a client chooses.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	streams  prometheus.Gauge
	panics   prometheus.Counter
	deferred prometheus.Counter
	notAfter prometheus.Gauge

	// Of the publisher's answers, which cost little else: looked up by their labels once.
	published   prometheus.Counter
	publishedIn prometheus.Observer
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_server_requests_total", Help: "Requests answered, by route and HTTP status.",
		}, []string{"route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "handfast_server_request_duration_seconds",
			Help:    "Time from a request's header to the end of its answer, by route. Waiting counts: a stream of the feed ends with its agent's connection.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "handfast_server_requests_in_flight", Help: "Requests being answered, with the waiting ones.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "handfast_server_feed_streams", Help: "Agents that follow the feed by a stream, which is open for as long as they do.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "handfast_server_panics_total", Help: "Handlers that panicked. Each is a fault of the program; the log has the stack.",
		}),
		deferred: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "handfast_server_renewals_deferred_total", Help: "Renewals that were told to come back later, because others were more pressed.",
		}),
		notAfter: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "handfast_server_certificate_not_after_seconds", Help: "When the API's own certificate expires, in seconds since 1970.",
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.requests, m.duration, m.inFlight, m.streams, m.panics, m.deferred, m.notAfter)
	}
	m.published = m.requests.WithLabelValues(publicRoute, statusLabel(http.StatusOK))
	m.publishedIn = m.duration.WithLabelValues(publicRoute)
	return m
}

// observePublished is observe for publicRoute.
func (m *metrics) observePublished(code int, took time.Duration) {
	if code == http.StatusOK {
		m.published.Inc()
	} else {
		m.requests.WithLabelValues(publicRoute, statusLabel(code)).Inc()
	}
	m.publishedIn.Observe(took.Seconds())
}

func (m *metrics) observe(route string, code int, took time.Duration) {
	m.requests.WithLabelValues(route, statusLabel(code)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}
