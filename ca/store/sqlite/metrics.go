package sqlite

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	batch    prometheus.Histogram
	seconds  prometheus.Histogram
	failures prometheus.Counter

	checkpoints        prometheus.Histogram
	checkpointFailures prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	factory := promauto.With(registerer)
	return &metrics{
		batch: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "handfast_ledger_commit_changes",
			Help:    "Changes that shared one commit.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, maxBatch},
		}),
		seconds: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "handfast_ledger_commit_seconds",
			Help:    "Time of one commit, fsync included, in seconds.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		failures: factory.NewCounter(prometheus.CounterOpts{
			Name: "handfast_ledger_commit_failures_total",
			Help: "Commits that failed, so that nothing of them counts.",
		}),
		checkpoints: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "handfast_ledger_checkpoint_seconds",
			Help:    "Time to copy the write-ahead log into the database, beside the commits, in seconds.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}),
		checkpointFailures: factory.NewCounter(prometheus.CounterOpts{
			Name: "handfast_ledger_checkpoint_failures_total",
			Help: "Checkpoints that failed; the log keeps what they did not copy.",
		}),
	}
}

func (m *metrics) committed(changes int, took time.Duration, err error) {
	if err != nil {
		m.failures.Inc()
		return
	}
	m.batch.Observe(float64(changes))
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) checkpointed(took time.Duration, err error) {
	if err != nil {
		m.checkpointFailures.Inc()
		return
	}
	m.checkpoints.Observe(took.Seconds())
}
