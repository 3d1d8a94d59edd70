package server

import (
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
)

// enroll exchanges a token for a first certificate. The token alone says for which service.
func (s *Server) enroll(r *request) (*answer, error) {
	var body api.EnrollRequest
	idem, err := r.issuance(&body, &body.CSR)
	if err != nil {
		return nil, err
	}
	switch {
	case body.Token == "":
		return nil, badRequest("the token is missing")
	case len(body.Token) > api.MaxToken:
		return nil, &api.Error{Code: api.CodeTooLarge, Message: "the token is too long"}
	}
	claim, err := s.cfg.Tokens.Verify(r.ctx(), body.Token)
	if err != nil {
		return nil, err
	}
	return issued(s.cfg.CA.Enroll(r.ctx(), claim, body.CSR, idem))
}

// rekey is for a certificate that has expired within its grace: the request itself is
// signed by the old key, and the CA verifies it.
func (s *Server) rekey(r *request) (*answer, error) {
	var body api.RekeyRequest
	idem, err := r.issuance(&body, &body.CSR)
	if err != nil {
		return nil, err
	}
	if len(body.Chain) == 0 || len(body.Chain) > maxChain {
		return nil, badRequest("the chain must have 1 to %d certificates", maxChain)
	}
	return issued(s.cfg.CA.Rekey(r.ctx(), &body, idem))
}

// renew is for the identity of the connection's certificate; the body cannot name another.
func (s *Server) renew(r *request) (*answer, error) {
	var body api.RenewRequest
	idem, err := r.issuance(&body, &body.CSR)
	if err != nil {
		return nil, err
	}
	return issued(s.cfg.CA.Renew(r.ctx(), r.peer, body.CSR, idem))
}

func (s *Server) renewOperator(r *request) (*answer, error) {
	var body api.RenewRequest
	idem, err := r.issuance(&body, &body.CSR)
	if err != nil {
		return nil, err
	}
	return issued(s.cfg.CA.RenewOperator(r.ctx(), r.peer, body.CSR, idem))
}

func (s *Server) issue(r *request) (*answer, error) {
	var body api.IssueRequest
	idem, err := r.issuance(&body, &body.CSR)
	if err != nil {
		return nil, err
	}
	return issued(s.cfg.CA.Issue(r.ctx(), r.operator, body, idem))
}

func (s *Server) addOperator(r *request) (*answer, error) {
	var body api.OperatorRequest
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	if err := checkCSR(body.CSR); err != nil {
		return nil, err
	}
	return issued(s.cfg.CA.AddOperator(r.ctx(), r.operator, body))
}

// createToken asks the CA first: who may not have a token never sees one.
func (s *Server) createToken(r *request) (*answer, error) {
	var body api.TokenRequest
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	if body.TTL < 0 {
		return nil, badRequest("the lifetime is negative")
	}
	if err := s.cfg.CA.AuthorizeToken(r.ctx(), r.operator, body.Service); err != nil {
		return nil, err
	}
	token, expires, err := s.cfg.Tokens.Mint(body.Service, time.Duration(body.TTL))
	if err != nil {
		return nil, err
	}
	return &answer{json: api.Token{Token: token, Service: body.Service, ExpiresAt: expires.UTC()}}, nil
}

// issuance decodes a request for a certificate and checks what all of them share. csr
// points into body.
func (r *request) issuance(body any, csr *[]byte) (idem string, err error) {
	if idem, err = r.idempotencyKey(); err != nil {
		return "", err
	}
	if err := r.decode(body); err != nil {
		return "", err
	}
	return idem, checkCSR(*csr)
}

func checkCSR(csr []byte) error {
	switch {
	case len(csr) == 0:
		return &api.Error{Code: api.CodeBadCSR, Message: "the CSR is missing"}
	case len(csr) > api.MaxCSR:
		return &api.Error{Code: api.CodeTooLarge, Message: "the CSR is too long", Hint: "send a PKCS #10 request with nothing but its key"}
	default:
		return nil
	}
}

func issued(i *ca.Issued, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	body, err := api.Issued{
		Chain: i.Chain, Roots: i.Roots, RenewAfter: i.RenewAfter.UTC(), Grace: api.Duration(i.Grace),
	}.Encode()
	return &answer{body: body, media: mediaJSON, told: !i.Replayed}, err
}
