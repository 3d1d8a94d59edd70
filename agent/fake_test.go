package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/agent/internal/testpki"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
)

var errDown = errors.New("connection refused")

// fakeCA is a CA without network. Its fields are guarded by mu; tests change them through do.
type fakeCA struct {
	t   *testing.T
	pki *testpki.PKI
	id  certs.ID

	mu        sync.Mutex
	life      time.Duration
	grace     time.Duration
	fail      error           // of every request
	noState   bool            // AgentState fails
	loseNext  bool            // issue, then lose the answer
	used      map[string]bool // tokens
	replay    map[string]*api.Issued
	revoked   map[string]bool // serials
	callers   []string
	roots     [][]byte
	crl       []byte
	crlNumber string
	epoch     uint64
	ahead     time.Duration // the CA's clock

	feed       *testpki.Feed
	snapshot   *api.FeedMessage // in the place of the feed's own
	feedOnly   bool             // the state names no CRL of the issuer: the feed covers it
	maxSilence time.Duration
	silent     bool  // streams say nothing
	noFeed     error // of every stream
	noPoll     error // of every question about the feed, with noFeed
	acked      uint64
	ackedAt    time.Time
	left       int // agents that said that they stop
	checked    *api.RevocationState

	requests []request
	keys     map[string]bool // public keys that were certified
}

// request is what the CA saw.
type request struct {
	kind string
	at   time.Time
	idem string
	csr  string
}

func newFakeCA(t *testing.T) *fakeCA {
	pki := testpki.New(t, "test.example", time.Now)
	ca := &fakeCA{
		t: t, pki: pki, id: pki.ID("web"), life: time.Hour, grace: 24 * time.Hour,
		used: map[string]bool{}, replay: map[string]*api.Issued{}, revoked: map[string]bool{}, keys: map[string]bool{},
		callers: []string{"spiffe://test.example/gateway"}, roots: [][]byte{pki.Root.Raw}, epoch: 1, feed: pki.NewFeed(),
	}
	ca.publishCRL()
	ca.announce()
	return ca
}

func (ca *fakeCA) do(change func()) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	change()
	ca.epoch++
	ca.announce()
}

func (ca *fakeCA) publishCRL(revoked ...*x509.Certificate) {
	ca.crl = ca.pki.CRL(revoked...)
	list, err := x509.ParseRevocationList(ca.crl)
	if err != nil {
		ca.t.Fatal(err)
	}
	ca.crlNumber = list.Number.String()
}

// token makes a native token that api.TokenHints understands.
func (ca *fakeCA) token(name string) string {
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			ca.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return part(map[string]any{"alg": api.TokenAlg, "typ": api.TokenType}) + "." +
		part(map[string]any{
			"iss": api.TokenIssuer, "aud": "test.example", "sub": "web", "jti": name, "exp": 4102444800,
			"ca": "https://ca.test:8443", "fpr": certs.Fingerprint(ca.pki.Root),
		}) + ".c2ln"
}

// seen counts the requests of a kind.
func (ca *fakeCA) seen(kind string) (found []request) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	for _, r := range ca.requests {
		if r.kind == kind {
			found = append(found, r)
		}
	}
	return found
}

// connect implements Connector.
func (ca *fakeCA) connect(address string, config *tls.Config) (CA, error) {
	if !strings.HasPrefix(address, "https://") || config.VerifyConnection == nil {
		return nil, fmt.Errorf("connect to %q with a configuration that verifies nothing", address)
	}
	return &fakeConn{ca: ca, config: config}, nil
}

type fakeConn struct {
	ca     *fakeCA
	config *tls.Config
}

func (c *fakeConn) Close() {}

// begin notes a request and fails when the CA is to fail.
func (c *fakeConn) begin(kind, idem string, csr []byte) error {
	c.ca.requests = append(c.ca.requests, request{kind, time.Now(), idem, string(csr)})
	return c.ca.fail
}

func (c *fakeConn) Enroll(_ context.Context, r *api.EnrollRequest, idem string) (*api.Issued, error) {
	c.ca.mu.Lock()
	defer c.ca.mu.Unlock()
	if err := c.begin("enrol", idem, r.CSR); err != nil {
		return nil, err
	}
	if issued := c.ca.replay[idem+string(r.CSR)]; issued != nil {
		return issued, nil
	}
	if c.ca.used[r.Token] {
		return nil, &api.Error{Code: api.CodeTokenUsed, Message: "the token was used"}
	}
	c.ca.used[r.Token] = true
	return c.issue(idem, r.CSR)
}

func (c *fakeConn) Renew(_ context.Context, r *api.RenewRequest, idem string) (*api.Issued, error) {
	c.ca.mu.Lock()
	defer c.ca.mu.Unlock()
	if err := c.begin("renew", idem, r.CSR); err != nil {
		return nil, err
	}
	cert, err := c.config.GetClientCertificate(nil)
	if err != nil {
		return nil, err
	}
	switch {
	case c.ca.revoked[cert.Leaf.SerialNumber.Text(16)]:
		return nil, &api.Error{Code: api.CodeRevoked, Message: "revoked"}
	case !time.Now().Before(cert.Leaf.NotAfter):
		return nil, &api.Error{Code: api.CodeExpired, Message: "expired"}
	}
	if issued := c.ca.replay[idem+string(r.CSR)]; issued != nil {
		return issued, nil
	}
	return c.issue(idem, r.CSR)
}

func (c *fakeConn) Rekey(_ context.Context, r *api.RekeyRequest, idem string) (*api.Issued, error) {
	c.ca.mu.Lock()
	defer c.ca.mu.Unlock()
	if err := c.begin("rekey", idem, r.CSR); err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(r.Chain[0])
	if err != nil {
		return nil, err
	}
	message, err := api.RekeyMessage("test.example", r)
	if err != nil {
		return nil, err
	}
	algorithm := x509.ECDSAWithSHA256
	if leaf.PublicKeyAlgorithm == x509.Ed25519 {
		algorithm = x509.PureEd25519
	}
	if err := leaf.CheckSignature(algorithm, message, r.Signature); err != nil {
		return nil, &api.Error{Code: api.CodeForbidden, Message: "the proof is wrong"}
	}
	if c.config.GetClientCertificate != nil {
		c.ca.t.Error("a rekey showed the expired certificate")
	}
	if time.Now().After(leaf.NotAfter.Add(c.ca.grace)) {
		return nil, &api.Error{Code: api.CodeExpired, Message: "the grace is over"}
	}
	return c.issue(idem, r.CSR)
}

// issue certifies the CSR's key. mu is held.
func (c *fakeConn) issue(idem string, der []byte) (*api.Issued, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	if len(csr.URIs)+len(csr.DNSNames)+len(csr.Extensions) > 0 || csr.Subject.String() != "" {
		c.ca.t.Error("the CSR names something; only its key is wanted")
	}
	public, err := x509.MarshalPKIXPublicKey(csr.PublicKey)
	if err != nil {
		return nil, err
	}
	if c.ca.keys[string(public)] {
		c.ca.t.Error("a key was certified twice")
	}
	c.ca.keys[string(public)] = true
	leaf := c.ca.pki.Issue(c.ca.id, csr.PublicKey, c.ca.life)
	issued := &api.Issued{
		Chain: [][]byte{leaf.Raw, c.ca.pki.Issuing.Raw}, Roots: c.ca.roots,
		RenewAfter: leaf.NotBefore.Add(c.ca.life * 2 / 3), Grace: api.Duration(c.ca.grace),
	}
	c.ca.replay[idem+string(der)] = issued
	if c.ca.loseNext {
		c.ca.loseNext = false
		return nil, errDown
	}
	return issued, nil
}

func (c *fakeConn) AgentState(_ context.Context, etag string) (*api.AgentState, string, error) {
	c.ca.mu.Lock()
	defer c.ca.mu.Unlock()
	err := c.begin("state", "", nil)
	if c.ca.noState {
		err = errDown
	}
	now := fmt.Sprint(c.ca.epoch)
	if err != nil || now == etag {
		return nil, etag, err
	}
	state := &api.AgentState{
		ID: c.ca.id, Callers: c.ca.callers, Roots: c.ca.roots, PolicyEpoch: c.ca.epoch, MaxSilence: api.Duration(c.ca.maxSilence),
		ServerTime: time.Now().Add(c.ca.ahead), CRLs: []api.CRLRef{{Issuer: c.ca.pki.IssuerID(), Number: c.ca.crlNumber}},
	}
	if c.ca.feedOnly {
		state.CRLs = nil
	}
	for _, version := range c.ca.versions() {
		state.Versions = append(state.Versions, api.Version(version))
	}
	return state, now, nil
}

func (c *fakeConn) CRL(_ context.Context, issuer, _ string) ([]byte, string, error) {
	c.ca.mu.Lock()
	defer c.ca.mu.Unlock()
	if err := c.begin("crl", issuer, nil); err != nil {
		return nil, "", err
	}
	return c.ca.crl, "", nil
}
