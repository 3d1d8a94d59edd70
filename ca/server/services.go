package server

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
)

func (s *Server) listServices(r *request) (*answer, error) {
	search, cursor, limit, err := r.page()
	if err != nil {
		return nil, err
	}
	rows, next, err := s.cfg.CA.Services(r.ctx(), r.operator, search, cursor, limit)
	if err != nil {
		return nil, err
	}
	list := api.ServiceList{Services: make([]api.Service, 0, len(rows)), Next: next}
	for _, row := range rows {
		wire, err := s.wireService(row)
		if err != nil {
			return nil, err
		}
		list.Services = append(list.Services, wire)
	}
	return &answer{json: list}, nil
}

func (s *Server) getService(r *request) (*answer, error) {
	row, err := s.cfg.CA.Service(r.ctx(), r.operator, r.http.PathValue("name"))
	return s.serviceAnswer(row, err)
}

func (s *Server) putService(r *request) (*answer, error) {
	version, err := precondition(r.http)
	if err != nil {
		return nil, err
	}
	var body api.Service
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	name := r.http.PathValue("name")
	if body.Name != name && body.Name != "" {
		return nil, badRequest("the body names service %.80q, the path %.80q", body.Name, name)
	}
	body.Name = name
	asked, err := s.askedService(body)
	if err != nil {
		return nil, err
	}
	row, err := s.cfg.CA.PutService(r.ctx(), r.operator, asked, version)
	return s.serviceAnswer(row, err)
}

func (s *Server) deleteService(r *request) (*answer, error) {
	version, err := precondition(r.http)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, badRequest("If-None-Match: * cannot be asked of a removal")
	}
	if err := s.cfg.CA.DeleteService(r.ctx(), r.operator, r.http.PathValue("name"), version); err != nil {
		return nil, err
	}
	return noContent(), nil
}

func (s *Server) apply(r *request) (*answer, error) {
	var body api.ApplyRequest
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	if body.Services == nil {
		return nil, badRequest("services is missing; an empty list must stand there in so many words")
	}
	services := make([]policy.Service, 0, len(body.Services))
	seen := make(map[string]bool, len(body.Services))
	for _, wire := range body.Services {
		if seen[wire.Name] {
			return nil, badRequest("service %.80q stands there twice", wire.Name)
		}
		seen[wire.Name] = true
		asked, err := s.askedService(wire)
		if err != nil {
			return nil, err
		}
		services = append(services, asked)
	}
	applied, err := s.cfg.CA.ApplyServices(r.ctx(), r.operator, services, body.Prune, body.DryRun)
	if err != nil {
		return nil, err
	}
	return &answer{json: wireApplied(applied, body.DryRun)}, nil
}

func (s *Server) serviceAnswer(row policy.Service, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	wire, err := s.wireService(row)
	if err != nil {
		return nil, err
	}
	return &answer{json: wire, etag: `"` + strconv.FormatUint(row.Version, 10) + `"`, cache: "no-cache"}, nil
}

// precondition reads the version that must be there: If-Match: "N", or If-None-Match: *
// for none (0), or neither for whatever there is (ca.AnyVersion).
func precondition(r *http.Request) (uint64, error) {
	match, none := r.Header.Values("If-Match"), r.Header.Values("If-None-Match")
	switch {
	case len(match) == 0 && len(none) == 0:
		return ca.AnyVersion, nil
	case len(match) == 0 && len(none) == 1 && none[0] == "*":
		return 0, nil
	case len(match) == 1 && len(none) == 0:
		digits, opened := strings.CutPrefix(match[0], `"`)
		digits, closed := strings.CutSuffix(digits, `"`)
		version, err := strconv.ParseUint(digits, 10, 63)
		if opened && closed && err == nil && version > 0 {
			return version, nil
		}
	}
	return 0, badRequest(`give If-Match: "VERSION", or If-None-Match: *, or neither`)
}

func noContent() *answer { return &answer{status: http.StatusNoContent} }
