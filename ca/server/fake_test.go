package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/revocation"
)

const testDomain = "test.example"

// fakeCA is an Authority whose certificates are testPKI's. What a test does not set
// fails: a method that is reached by accident shows.
type fakeCA struct {
	Authority // nil: what is not overridden below panics, and a panic is a 500

	pki *testPKI
	td  certs.TrustDomain

	mu        sync.Mutex
	refuse    map[string]error // by serial: what Authenticate answers
	roles     map[string]policy.Operator
	state     api.AgentState
	problems  []string
	enrolled  func(claim ca.Claim, csr []byte, idem string) (*ca.Issued, error)
	renewed   func(peer ca.Peer, csr []byte, idem string) (*ca.Issued, error)
	services  map[string]policy.Service
	putSeen   uint64
	authCalls int

	entitledCalls int
	fallen        error // what Standing answers
	basis         ca.Basis
	entitled      error // what Entitled answers
	basisErr      error
	remains       error // what Remains answers when Standing answers nothing
	refuseAll     error // what Authenticate answers
}

func newFakeCA(t testing.TB) *fakeCA {
	td, err := certs.ParseTrustDomain(testDomain)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeCA{
		pki: newTestPKI(t), td: td, refuse: map[string]error{},
		roles: map[string]policy.Operator{
			"adam":  {Name: "adam", Role: policy.RoleAdmin},
			"iris":  {Name: "iris", Role: policy.RoleIssuer, Services: []string{"web"}},
			"rene":  {Name: "rene", Role: policy.RoleReader},
			"nemo":  {Name: "nemo", Role: "wizard"},
			"renew": {Name: "renew", Role: policy.RoleReader},
		},
		services: map[string]policy.Service{},
	}
}

func (f *fakeCA) TrustDomain() certs.TrustDomain { return f.td }

func (f *fakeCA) Bundle() api.Bundle {
	return api.Bundle{TrustDomain: testDomain, Roots: [][]byte{f.pki.root.Raw}}
}

func (f *fakeCA) IssuerCertificate(id string) (*x509.Certificate, bool) {
	return f.pki.root, id == "aabb"
}

func (f *fakeCA) Authenticate(_ context.Context, chain []*x509.Certificate) (ca.Peer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.authCalls++
	if f.refuseAll != nil {
		return ca.Peer{}, f.refuseAll
	}
	leaf := chain[0]
	if err := f.refuse[leaf.SerialNumber.String()]; err != nil {
		return ca.Peer{}, err
	}
	id, err := certs.IDFromCertificate(leaf)
	if err != nil {
		return ca.Peer{}, &api.Error{Code: api.CodeUnauthenticated, Message: err.Error()}
	}
	serial, err := certs.SerialFromInt(leaf.SerialNumber)
	if err != nil {
		return ca.Peer{}, err
	}
	peer := ca.Peer{ID: id, Kind: ca.KindService, Name: id.Path(), Certificate: leaf, Serial: serial}
	if name, ok := strings.CutPrefix(id.Path(), policy.OperatorPathPrefix); ok {
		peer.Kind, peer.Name = ca.KindOperator, name
	} else if id.IsReserved() {
		peer.Kind = ca.KindServer
	}
	return peer, nil
}

func (f *fakeCA) Standing(string, certs.Serial) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fallen
}

func (f *fakeCA) Remains(ca.Peer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cmp.Or(f.fallen, f.remains)
}

func (f *fakeCA) Entitled(context.Context, ca.Peer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entitledCalls++
	return f.entitled
}

func (f *fakeCA) Basis(context.Context) (ca.Basis, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.basis, f.basisErr
}

func (f *fakeCA) RevocationOf(_ context.Context, issuer string, serial certs.Serial) (api.RevocationState, error) {
	switch {
	case issuer != "aabb":
		return api.RevocationState{}, &api.Error{Code: api.CodeNotFound, Message: "not in the ledger"}
	case serial.String() == "0a01":
		return api.RevocationState{Revoked: true, Reason: certs.KeyCompromise, At: time.Unix(1e9, 0), Sequence: 5}, nil
	default:
		return api.RevocationState{}, nil
	}
}

func (f *fakeCA) Operator(_ context.Context, peer ca.Peer) (policy.Operator, error) {
	if o, ok := f.roles[peer.Name]; ok {
		return o, nil
	}
	return policy.Operator{}, &api.Error{Code: api.CodeForbidden, Message: "operator is not registered"}
}

func (f *fakeCA) ServerCertificate(_ context.Context, dns []string, ips []netip.Addr) (*tls.Certificate, error) {
	c := f.pki.issue(f.pki.t, "handfast/ca", func(c *x509.Certificate) {
		c.DNSNames = dns
		for _, ip := range ips {
			c.IPAddresses = append(c.IPAddresses, ip.AsSlice())
		}
	})
	c.Certificate = append(c.Certificate, f.pki.root.Raw)
	return &c, nil
}

func (f *fakeCA) Enroll(_ context.Context, claim ca.Claim, csr []byte, idem string) (*ca.Issued, error) {
	return f.enrolled(claim, csr, idem)
}

func (f *fakeCA) Renew(_ context.Context, peer ca.Peer, csr []byte, idem string) (*ca.Issued, error) {
	return f.renewed(peer, csr, idem)
}

func (f *fakeCA) AgentState(context.Context, ca.Peer) (api.AgentState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	state := f.state
	state.ServerTime = time.Now()
	return state, nil
}

// change applies a change of the fake's state.
func (f *fakeCA) change(apply func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	apply()
}

func (f *fakeCA) Ready(context.Context) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problems
}

func (f *fakeCA) AuthorizeToken(_ context.Context, actor policy.Operator, service string) error {
	if err := policy.Allow(actor, policy.ActionToken, service); err != nil {
		return &api.Error{Code: api.CodeForbidden, Message: err.Error()}
	}
	return nil
}

func (f *fakeCA) PutService(_ context.Context, _ policy.Operator, s policy.Service, version uint64) (policy.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.putSeen = version
	s.Version = f.services[s.Name].Version + 1
	f.services[s.Name] = s
	return s, nil
}

func (f *fakeCA) Service(_ context.Context, _ policy.Operator, name string) (policy.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.services[name]
	if !ok {
		return s, &api.Error{Code: api.CodeNotFound, Message: "not found"}
	}
	return s, nil
}

func (f *fakeCA) DeleteService(_ context.Context, _ policy.Operator, name string, version uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.putSeen = version
	delete(f.services, name)
	return nil
}

// fakeTokens takes every token that is "good" and mints canaries.
type fakeTokens struct{}

func (fakeTokens) Verify(_ context.Context, token string) (ca.Claim, error) {
	if !strings.HasPrefix(token, "good") {
		return ca.Claim{}, &api.Error{Code: api.CodeTokenInvalid, Message: "not minted by this CA"}
	}
	return ca.Claim{Service: "web", Method: ca.MethodToken}, nil
}

func (fakeTokens) Mint(service string, ttl time.Duration) (string, time.Time, error) {
	return "canary-token-" + service, time.Unix(2e9, 0), nil
}

// fakeRevocations answers the public paths with what it saw.
type fakeRevocations struct{}

func (fakeRevocations) ServeFastHTTP(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.SetBytesV("X-Seen", ctx.Request.Header.RequestURI())
}

func (fakeRevocations) AppendOCSP(dst, request []byte, _ time.Time) []byte {
	return fmt.Appendf(dst, "X-Seen: %x\r\nContent-Length: 0\r\n\r\n", request)
}

func (fakeRevocations) Respond([]byte) []byte { return []byte{0x30, 3, 0x0a, 1, 3} } // tryLater

func (fakeRevocations) CRL(issuer string) (revocation.CRL, bool) {
	return revocation.CRL{Issuer: issuer, Pieces: [][]byte{[]byte("c"), []byte("rl")}, Number: big.NewInt(7), ETag: `"7"`}, issuer == "aabb"
}
