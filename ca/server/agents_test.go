package server

import (
	"errors"
	"testing"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
)

func TestAgentStateIsConditional(t *testing.T) {
	st := start(t, nil)
	c := st.client("web")
	first, etag, err := c.AgentState(t.Context(), "")
	if err != nil || first == nil || etag == "" {
		t.Fatalf("first state: %v, %q, %v", first, etag, err)
	}
	again, same, err := c.AgentState(t.Context(), etag)
	if err != nil || again != nil || same != etag {
		t.Errorf("again: %v, %q, %v; want nil and the same tag", again, same, err)
	}
	st.change(func() { st.state.Callers = []string{"spiffe://test.example/db"} })
	changed, other, err := c.AgentState(t.Context(), etag)
	if err != nil || changed == nil || len(changed.Callers) != 1 || other == etag {
		t.Errorf("after a change: %+v, %q, %v", changed, other, err)
	}
}

// Invariant 15: the door checks each request, not only each handshake.
func TestRevokedCertificateIsRefusedOnAKeptConnection(t *testing.T) {
	st := start(t, nil)
	st.renewed = func(ca.Peer, []byte, string) (*ca.Issued, error) { return &ca.Issued{}, nil }
	config := st.tls("web")
	c, err := api.NewClient(st.api, config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Renew(t.Context(), &api.RenewRequest{CSR: newCSR(t)}, ""); err != nil {
		t.Fatal(err)
	}
	st.change(func() {
		st.refuse[config.Certificates[0].Leaf.SerialNumber.String()] = &api.Error{Code: api.CodeRevoked, Message: "the certificate is revoked"}
	})
	var refused *api.Error
	if _, err := c.Renew(t.Context(), &api.RenewRequest{CSR: newCSR(t)}, ""); !errors.As(err, &refused) || refused.Code != api.CodeRevoked {
		t.Errorf("renewal after the revocation: %v", err)
	}
	if refused != nil && refused.RequestID == "" {
		t.Error("the refusal has no request id")
	}
}

// Invariant 28: the body has no field that could name anybody.
func TestRenewalIsForTheConnectionsIdentity(t *testing.T) {
	st := start(t, nil)
	var seen []string
	st.renewed = func(peer ca.Peer, _ []byte, _ string) (*ca.Issued, error) {
		seen = append(seen, peer.ID.String())
		return &ca.Issued{}, nil
	}
	for _, path := range []string{"web", "web/canary", "db"} {
		if _, err := st.client(path).Renew(t.Context(), &api.RenewRequest{CSR: newCSR(t)}, ""); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"spiffe://test.example/web", "spiffe://test.example/web/canary", "spiffe://test.example/db"}
	for i := range want {
		if seen[i] != want[i] {
			t.Errorf("renewed as %s, connected as %s", seen[i], want[i])
		}
	}
	for _, field := range []string{"service", "id", "name", "identity", "serial", "dns", "token"} {
		if err := api.DecodeStrict([]byte(`{"csr":"AAAA","`+field+`":"db"}`), &api.RenewRequest{}); err == nil {
			t.Errorf("a renewal with %q in its body was accepted", field)
		}
	}
}

func TestCRLAndBundleAreConditional(t *testing.T) {
	st := start(t, nil)
	c := st.client("web")
	der, etag, err := c.CRL(t.Context(), "aabb", "")
	if err != nil || string(der) != "crl" || etag != `"7"` {
		t.Fatalf("CRL: %q, %q, %v", der, etag, err)
	}
	if der, same, err := c.CRL(t.Context(), "aabb", etag); err != nil || len(der) != 0 || same != etag {
		t.Errorf("CRL again: %q, %q, %v", der, same, err)
	}
	bundle, etag, err := c.Bundle(t.Context(), "")
	if err != nil || bundle.TrustDomain != testDomain || len(bundle.Roots) != 1 {
		t.Fatalf("bundle: %+v, %v", bundle, err)
	}
	if bundle, _, err := c.Bundle(t.Context(), etag); err != nil || bundle != nil {
		t.Errorf("bundle again: %+v, %v", bundle, err)
	}
}
