package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/certs"
)

// StapleStatus is how the agent stands to the OCSP response that it staples.
type StapleStatus struct {
	Demanded   bool      `json:"demanded"`             // by the certificate (RFC 7633)
	Responder  string    `json:"responder,omitempty"`  // where it comes from
	Stapled    bool      `json:"stapled"`              // a valid one is there
	ThisUpdate time.Time `json:"this_update,omitzero"` // of that
	NextUpdate time.Time `json:"next_update,omitzero"`
	NextFetch  time.Time `json:"next_fetch,omitzero"`
	Problem    string    `json:"problem,omitempty"` // of the last fetch
}

// status is nil before enrolment, and when the certificate neither names a responder nor demands a staple.
func (s *stapler) status() *StapleStatus {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.own
	if own == nil || own.url == "" && !certs.MustStaple(own.cert.Leaf) {
		return nil
	}
	status := &StapleStatus{Demanded: certs.MustStaple(own.cert.Leaf), Responder: own.url, Stapled: own.valid(now)}
	if status.Stapled {
		status.ThisUpdate, status.NextUpdate = own.staple.ThisUpdate, own.staple.NextUpdate
	}
	if own.url != "" {
		status.NextFetch = own.due.UTC()
	}
	if own.problem != nil {
		status.Problem = own.problem.Error()
	}
	return status
}

// ready returns why peers would refuse the certificate that is shown.
func (s *stapler) ready() error {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == nil || s.own.fit(now) || s.last != nil && s.last.fit(now) || now.After(s.own.cert.Leaf.NotAfter) {
		return nil
	}
	if s.own.problem != nil {
		return fmt.Errorf("the certificate demands a stapled OCSP response, and there is none, so every peer refuses it: %w", s.own.problem)
	}
	return errors.New("the certificate demands a stapled OCSP response, which has not come yet: every peer refuses it")
}

// stapleMetrics are the stapler's.
type stapleMetrics struct {
	fetches *prometheus.CounterVec
	expiry  *prometheus.Desc
	stapler *stapler
}

// The results of a fetch.
const (
	fetchOK       = "ok"
	fetchRevoked  = "revoked"   // the own certificate is
	fetchInvalid  = "invalid"   // the response cannot be used
	fetchNoAnswer = "no_answer" // none came
)

func newStapleMetrics(s *stapler) *stapleMetrics {
	m := &stapleMetrics{
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_agent_staple_fetches_total",
			Help: "Fetches of an OCSP response to staple to the own certificate, by result: ok, revoked, invalid, no_answer.",
		}, []string{"result"}),
		expiry: prometheus.NewDesc("handfast_agent_staple_expiry_seconds",
			"Seconds until the OCSP response that is stapled ends. Absent while there is none.", nil, nil),
		stapler: s,
	}
	for _, result := range []string{fetchOK, fetchRevoked, fetchInvalid, fetchNoAnswer} {
		m.fetches.WithLabelValues(result)
	}
	return m
}

func (m *stapleMetrics) count(err error) {
	var refusal *certs.Refusal
	result := fetchNoAnswer
	switch {
	case err == nil:
		result = fetchOK
	case isRevoked(err):
		result = fetchRevoked
	case errors.As(err, &refusal):
		result = fetchInvalid
	}
	m.fetches.WithLabelValues(result).Inc()
}

// Describe implements prometheus.Collector.
func (m *stapleMetrics) Describe(out chan<- *prometheus.Desc) {
	m.fetches.Describe(out)
	out <- m.expiry
}

// Collect implements prometheus.Collector.
func (m *stapleMetrics) Collect(out chan<- prometheus.Metric) {
	m.fetches.Collect(out)
	if s := m.stapler.status(); s != nil && s.Stapled {
		out <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, s.NextUpdate.Sub(m.stapler.now()).Seconds())
	}
}
