package fleet

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	enforced prometheus.Histogram
	failures prometheus.Counter
}

func newMetrics(f *Fleet, registerer prometheus.Registerer) *metrics {
	factory := promauto.With(registerer)
	if registerer != nil {
		registerer.MustRegister(collector{f})
	}
	return &metrics{
		enforced: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "handfast_fleet_enforce_seconds",
			Help:    "Time from a durable revocation to an agent's word that it enforces it, in seconds.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		failures: factory.NewCounter(prometheus.CounterOpts{
			Name: "handfast_fleet_save_failures_total",
			Help: "Failed writes of what agents enforce to the ledger; they are repeated.",
		}),
	}
}

var agentsDesc = prometheus.NewDesc("handfast_fleet_agents",
	"Agents by state: current, lagging, silent, stopped, expired, revoked.", []string{"state"}, nil)

// collector counts when somebody asks.
type collector struct{ fleet *Fleet }

// Describe implements prometheus.Collector.
func (c collector) Describe(descs chan<- *prometheus.Desc) { descs <- agentsDesc }

// Collect implements prometheus.Collector.
func (c collector) Collect(collected chan<- prometheus.Metric) {
	counts := c.fleet.Counts()
	for _, state := range []State{Current, Lagging, Silent, Stopped, Expired, Revoked} {
		collected <- prometheus.MustNewConstMetric(agentsDesc, prometheus.GaugeValue, float64(counts[state]), string(state))
	}
}

// Counts is how many agents are in each state.
func (f *Fleet) Counts() map[State]int {
	now, sequence := f.cfg.Now(), f.cfg.Sequence()
	counts := make(map[State]int)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.agents {
		counts[f.state(a, sequence, now)]++
	}
	return counts
}
