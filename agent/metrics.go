package agent

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/handfast/handfast/agent/holder"
	"github.com/handfast/handfast/ca/api"
)

// metrics are the agent's. Labels are categories out of small sets.
type metrics struct {
	attempts     *prometheus.CounterVec
	saveFailures prometheus.Counter
	feedRefused  *prometheus.CounterVec
}

func newMetrics(a *Agent, registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_agent_renewals_total",
			Help: "Enrolments, renewals and rekeys by result: ok, or the CA's error code, or no_answer.",
		}, []string{"kind", "result"}),
		saveFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "handfast_agent_state_save_failures_total",
			Help: "Writes of the state directory that failed. The state in memory stays in use.",
		}),
		feedRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handfast_agent_feed_refused_total",
			Help: "Statements and streams of the CA's feed that were refused: forged, replayed, out of order, cut short. None of them was used.",
		}, []string{"cause"}),
	}
	for _, cause := range holder.Causes {
		m.feedRefused.WithLabelValues(cause)
	}
	if registerer == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{m.attempts, m.saveFailures, m.feedRefused, newStateCollector(a), a.stapler.metrics} {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) attempt(kind purpose, err error) {
	m.attempts.WithLabelValues(string(kind), result(err)).Inc()
}

func result(err error) string {
	var refusal *api.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refusal) && knownCode(refusal.Code):
		return string(refusal.Code)
	case errors.As(err, &refusal):
		return "other"
	default:
		return "no_answer"
	}
}

// knownCode keeps a CA from making up label values.
func knownCode(code api.Code) bool {
	return code == api.CodeInternal || code.HTTPStatus() != api.CodeInternal.HTTPStatus()
}

// stateCollector reads the ages at each scrape.
type stateCollector struct {
	agent                                             *Agent
	expiry, renewal, ready, policy, crl, offset, last *prometheus.Desc
	feedAge, feedLeft, feedSequence, feedEnforced     *prometheus.Desc
	feedRevoked, feedStream                           *prometheus.Desc
	followers, followersLagging, followersLag         *prometheus.Desc
}

func newStateCollector(a *Agent) *stateCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("handfast_agent_"+name, help, labels, nil)
	}
	return &stateCollector{
		agent:   a,
		expiry:  desc("certificate_expiry_seconds", "Seconds until the own certificate expires; negative after."),
		renewal: desc("next_renewal_seconds", "Seconds until the next renewal is due; negative when overdue."),
		ready:   desc("ready", "1 when certificate, policy and revocation are known and valid."),
		policy:  desc("policy_age_seconds", "Seconds since the CA confirmed policy, roots and revocation last."),
		crl:     desc("crl_age_seconds", "Seconds since the CRL of the issuer was made.", "issuer"),
		offset:  desc("clock_offset_seconds", "How far the CA's clock is ahead of this host's."),
		last:    desc("last_renewal_success", "1 when the last enrolment, renewal or rekey succeeded, 0 when it failed. Absent until there was one since the start."),

		feedAge:          desc("feed_age_seconds", "Seconds since the CA signed the newest statement of its feed that is known."),
		feedLeft:         desc("feed_silence_left_seconds", "Seconds until every peer is refused because the feed is silent; negative after."),
		feedSequence:     desc("feed_sequence", "Sequence number up to which revocations are known."),
		feedEnforced:     desc("feed_enforced_sequence", "Sequence number up to which revocations are enforced, saved and acknowledged."),
		feedRevoked:      desc("feed_revoked", "How many certificates are revoked or on hold, by the feed."),
		followers:        desc("followers", "Programs that follow over the local socket."),
		followersLagging: desc("followers_lagging", "Followers that do not say yet that they enforce all that is known: the CA is not told so before."),
		followersLag:     desc("followers_lag_seconds", "Since the slowest of them was sent what it has not confirmed; 0 when none lags."),
		feedStream:       desc("feed_streaming", "1 while the feed is streamed, 0 while the CA is polled or out of reach."),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.expiry, c.renewal, c.ready, c.policy, c.crl, c.offset, c.last,
		c.feedAge, c.feedLeft, c.feedSequence, c.feedEnforced, c.feedRevoked, c.feedStream,
		c.followers, c.followersLagging, c.followersLag} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	s := c.agent.Status()
	gauge(c.ready, oneIf(s.Ready))
	if s.LastAttempt != nil {
		gauge(c.last, oneIf(s.LastAttempt.Error == ""))
	}
	if !s.NotAfter.IsZero() {
		gauge(c.expiry, s.NotAfter.Sub(s.OwnClock).Seconds())
		gauge(c.renewal, s.NextRenewal.Sub(s.OwnClock).Seconds())
	}
	if s.PolicyKnown {
		gauge(c.policy, s.OwnClock.Sub(s.ConfirmedAt).Seconds())
	}
	for _, crl := range s.CRLs {
		gauge(c.crl, s.OwnClock.Sub(crl.ThisUpdate).Seconds(), crl.Issuer)
	}
	if f := s.Feed; f != nil {
		gauge(c.feedAge, s.OwnClock.Sub(f.SignedAt).Seconds())
		gauge(c.feedLeft, f.Until.Sub(s.OwnClock).Seconds())
		gauge(c.feedSequence, float64(f.Sequence))
		gauge(c.feedEnforced, float64(f.Enforced))
		gauge(c.feedRevoked, float64(f.Revoked))
		gauge(c.feedStream, oneIf(f.Mode == holder.ModeStream))
	}
	lagging, lag := 0, 0.0
	for _, follower := range s.Followers {
		if follower.Lagging {
			lagging++
			lag = max(lag, follower.LagSeconds)
		}
	}
	gauge(c.followers, float64(len(s.Followers)))
	gauge(c.followersLagging, float64(lagging))
	gauge(c.followersLag, lag)
	if s.CAClock != nil {
		gauge(c.offset, s.CAClock.Sub(s.OwnClock).Seconds())
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
