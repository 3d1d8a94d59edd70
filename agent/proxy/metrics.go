package proxy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the proxy's. Labels are categories out of small sets.
type metrics struct {
	connections *prometheus.CounterVec
	open        *prometheus.GaugeVec
	cuts        *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	requests    *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_proxy_connections_total",
			Help: "Connections by direction and result: ok, or the cause of the refusal or failure.",
		}, []string{"direction", "result"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "handfast_proxy_connections_open",
			Help: "Connections with a verified peer that are open now.",
		}, []string{"direction"}),
		cuts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_proxy_connections_cut_total",
			Help: "Open connections that were cut, by cause.",
		}, []string{"direction", "cause"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_proxy_bytes_total",
			Help: "Bytes of plaintext forwarded in mode tcp and by outbound listeners, by direction of the connection and where to.",
		}, []string{"direction", "to"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_proxy_requests_total",
			Help: "HTTP requests forwarded in modes http and h2c, by class of the status (2xx, ...).",
		}, []string{"class"}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{m.connections, m.open, m.cuts, m.bytes, m.requests} {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// counter returns what counts a connection's bytes. The two counters are looked up once. From here on
// the direction's gauge is there: that nothing is open yet is 0 and not absent.
func (m *metrics) counter(way direction) func(toPeer bool, n int) {
	m.open.WithLabelValues(string(way))
	out, in := m.bytes.WithLabelValues(string(way), "peer"), m.bytes.WithLabelValues(string(way), "local")
	return func(toPeer bool, n int) {
		if toPeer {
			out.Add(float64(n))
		} else {
			in.Add(float64(n))
		}
	}
}
