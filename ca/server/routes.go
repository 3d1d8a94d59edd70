package server

import (
	"fmt"
	"net/http"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
)

// who says which callers a route is for. The zero value is nobody.
type who int

const (
	nobody   who = iota
	anyone       // also without a certificate
	enrolled     // a service or an operator, with a certificate that verifies now
	service      // a service
	operator     // a registered operator whose role allows the route's action
)

// handler answers a request that was admitted. Either the answer or the error is used.
type handler func(*request) (*answer, error)

// route is one line of the table.
type route struct {
	method  string
	pattern string
	who     who
	action  policy.Action // for operators; where it concerns a service, the CA checks that as well
	limited bool          // work for callers without a certificate: bounded, see limiter
	maxBody int64         // bytes; 0 is api.MaxBody
	query   []string      // the query parameters that it knows; others are refused
	handle  handler
}

// check refuses a line that does not say who may use it.
func (r route) check() error {
	if r.who == nobody || r.handle == nil || (r.who == operator) != (r.action != "") {
		return fmt.Errorf("server: route %s %s does not say who may use it", r.method, r.pattern)
	}
	return nil
}

// routes is every request that the API answers.
func (s *Server) routes() []route {
	const (
		get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete

		read, operators, services = policy.ActionRead, policy.ActionChangeOperators, policy.ActionChangeServices
	)
	follow := []string{"since", "agent"}
	page := []string{"limit", "cursor", "q"}
	return []route{
		{method: get, pattern: api.PathHealth, who: anyone, handle: s.health},
		{method: get, pattern: api.PathReady, who: anyone, handle: s.ready},

		{method: post, pattern: api.PathEnroll, who: anyone, limited: true, handle: s.enroll},
		{method: post, pattern: api.PathRekey, who: anyone, limited: true, handle: s.rekey},
		{method: get, pattern: api.PathBundle, who: anyone, handle: s.bundle},

		{method: post, pattern: api.PathRenew, who: service, handle: s.pacer.paced(s.renew)},
		{method: get, pattern: api.PathAgentState, who: service, handle: s.agentState},
		{method: get, pattern: api.PathFeed, who: service, query: follow, handle: s.pollFeed},
		{method: get, pattern: api.PathRevocations + "/{issuer}/{serial}", who: service, handle: s.revocationOf},
		{method: get, pattern: api.PathCRL + "{issuer}", who: enrolled, handle: s.crl},

		{method: post, pattern: api.PathTokens, who: operator, action: policy.ActionToken, handle: s.createToken},
		{method: post, pattern: api.PathCertificates, who: operator, action: policy.ActionIssue, handle: s.issue},
		{method: get, pattern: api.PathCertificates, who: operator, action: read, query: append(page, "service", "kind", "status", "expiring"), handle: s.listCertificates},
		{method: get, pattern: api.PathCertificates + "/{serial}", who: operator, action: read, handle: s.getCertificate},
		{method: post, pattern: api.PathRevocations, who: operator, action: policy.ActionRevoke, handle: s.revoke},

		{method: get, pattern: api.PathFeedProgress, who: operator, action: read, query: []string{"sequence"}, handle: s.progress},
		{method: get, pattern: api.PathAgents, who: operator, action: read, query: append(page, "service", "state"), handle: s.listAgents},

		{method: get, pattern: api.PathServices, who: operator, action: read, query: page, handle: s.listServices},
		{method: get, pattern: api.PathServices + "/{name...}", who: operator, action: read, handle: s.getService},
		{method: put, pattern: api.PathServices + "/{name...}", who: operator, action: services, handle: s.putService},
		{method: del, pattern: api.PathServices + "/{name...}", who: operator, action: services, handle: s.deleteService},
		{method: post, pattern: api.PathApply, who: operator, action: services, maxBody: api.MaxApply, handle: s.apply},

		{method: get, pattern: api.PathOperators, who: operator, action: read, handle: s.listOperators},
		{method: post, pattern: api.PathOperators, who: operator, action: operators, handle: s.addOperator},
		{method: del, pattern: api.PathOperators + "/{name}", who: operator, action: operators, handle: s.deleteOperator},
		{method: post, pattern: api.PathOperatorRenew, who: operator, action: read, handle: s.renewOperator},

		{method: get, pattern: api.PathStatus, who: operator, action: read, handle: s.status},
		{method: get, pattern: api.PathMetrics, who: operator, action: read, handle: s.metricsPage},
	}
}
