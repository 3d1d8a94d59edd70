package server

import (
	"strconv"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

const (
	defaultPage = 100
	maxQuery    = 512 // of one query parameter, in bytes
)

func (s *Server) listCertificates(r *request) (*answer, error) {
	query, err := s.certificateQuery(r)
	if err != nil {
		return nil, err
	}
	rows, next, err := s.cfg.CA.Certificates(r.ctx(), r.operator, query)
	if err != nil {
		return nil, err
	}
	list := api.CertificateList{Certificates: make([]api.Certificate, 0, len(rows)), Next: next}
	for i := range rows {
		list.Certificates = append(list.Certificates, wireCertificate(&rows[i], query.Now))
	}
	return &answer{json: list}, nil
}

func (s *Server) certificateQuery(r *request) (ca.CertificateQuery, error) {
	search, cursor, limit, err := r.page()
	if err != nil {
		return ca.CertificateQuery{}, err
	}
	query := ca.CertificateQuery{
		Name: r.query.Get("service"), Kind: ca.Kind(r.query.Get("kind")), Status: r.query.Get("status"),
		Search: search, Cursor: cursor, Limit: limit, Now: s.cfg.Now(),
	}
	if len(query.Name) > maxQuery {
		return ca.CertificateQuery{}, badRequest("query parameter service is too long")
	}
	switch query.Kind {
	case "", ca.KindService, ca.KindOperator, ca.KindServer, ca.KindOCSP, ca.KindFeed, ca.KindIssuer:
	default:
		return ca.CertificateQuery{}, badRequest("kind is one of service, operator, server, ocsp, feed, issuer")
	}
	switch query.Status {
	case "", ca.StatusValid, ca.StatusExpired, ca.StatusRevoked, ca.StatusHeld:
	default:
		return ca.CertificateQuery{}, badRequest("status is one of valid, expired, revoked, held")
	}
	if !r.query.Has("expiring") {
		return query, nil
	}
	within, err := time.ParseDuration(r.query.Get("expiring"))
	if err != nil || within <= 0 {
		return ca.CertificateQuery{}, badRequest("expiring is a positive duration, such as 2h")
	}
	if query.Status == "" {
		query.Status = ca.StatusValid
	}
	query.ExpiresBefore = query.Now.Add(within)
	return query, nil
}

// page reads what all listings share.
func (r *request) page() (search, cursor string, limit int, err error) {
	search, cursor, limit = r.query.Get("q"), r.query.Get("cursor"), defaultPage
	if len(search) > maxQuery || len(cursor) > maxQuery {
		return "", "", 0, badRequest("q or cursor is longer than %d bytes", maxQuery)
	}
	if r.query.Has("limit") {
		limit, err = strconv.Atoi(r.query.Get("limit"))
		if err != nil || limit < 1 || limit > api.MaxPageSize {
			return "", "", 0, badRequest("limit is a number from 1 to %d", api.MaxPageSize)
		}
	}
	return search, cursor, limit, nil
}

func (s *Server) getCertificate(r *request) (*answer, error) {
	serial, err := certs.ParseSerial(r.http.PathValue("serial"))
	if err != nil {
		return nil, badRequest("%v", err)
	}
	row, err := s.cfg.CA.Certificate(r.ctx(), r.operator, serial)
	if err != nil {
		return nil, err
	}
	wire := wireCertificate(&row, s.cfg.Now())
	wire.DER = row.DER
	return &answer{json: wire}, nil
}

func (s *Server) revoke(r *request) (*answer, error) {
	var body api.RevokeRequest
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	outcome, sequence, err := s.cfg.CA.Revoke(r.ctx(), r.operator, body)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	result := api.RevokeResult{Revoked: make([]api.Certificate, 0, len(outcome.Revoked)), Total: outcome.Total, Sequence: sequence, DryRun: body.DryRun, Affected: outcome.Affected}
	for i := range outcome.Revoked {
		result.Revoked = append(result.Revoked, wireCertificate(&outcome.Revoked[i], now))
	}
	for i := range outcome.Already {
		result.Already = append(result.Already, wireCertificate(&outcome.Already[i], now))
	}
	return &answer{json: result}, nil
}

func (s *Server) listOperators(r *request) (*answer, error) {
	operators, err := s.cfg.CA.Operators(r.ctx(), r.operator)
	if err != nil {
		return nil, err
	}
	list := api.OperatorList{Operators: make([]api.Operator, 0, len(operators))}
	for _, o := range operators {
		wire, err := s.wireOperator(o)
		if err != nil {
			return nil, err
		}
		list.Operators = append(list.Operators, wire)
	}
	return &answer{json: list}, nil
}

func (s *Server) deleteOperator(r *request) (*answer, error) {
	if err := s.cfg.CA.DeleteOperator(r.ctx(), r.operator, r.http.PathValue("name")); err != nil {
		return nil, err
	}
	return noContent(), nil
}

// status is the CA's, with what only the server knows.
func (s *Server) status(r *request) (*answer, error) {
	status, err := s.cfg.CA.Status(r.ctx(), r.operator)
	if err != nil {
		return nil, err
	}
	status.Name, status.Version, status.StartedAt = s.cfg.Name, s.cfg.Version, s.started
	status.Sequence, status.Agents = s.cfg.Feed.Sequence(), s.agentCounts()
	return &answer{json: status}, nil
}
