package server

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
)

type stateAnswer struct {
	state *api.AgentState
	etag  string
	err   error
}

// poll waits for a change in the background; it returns when the request waits.
func (st *stack) poll(c *api.Client, etag string, wait time.Duration) <-chan stateAnswer {
	st.t.Helper()
	before := st.metric("agents_waiting")
	result := make(chan stateAnswer, 1)
	go func() {
		state, etag, err := c.AgentState(context.Background(), etag, wait)
		result <- stateAnswer{state, etag, err}
	}()
	for deadline := time.Now().Add(5 * time.Second); st.metric("agents_waiting") == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			st.t.Fatal("the request does not wait")
		}
	}
	return result
}

func await(t *testing.T, c <-chan stateAnswer) stateAnswer {
	t.Helper()
	select {
	case a := <-c:
		return a
	case <-time.After(5 * time.Second):
		t.Fatal("no answer")
		return stateAnswer{}
	}
}

func TestLongPollWakesAtAChange(t *testing.T) {
	st := start(t, nil)
	c := st.client("web")
	first, etag, err := c.AgentState(t.Context(), "", 30*time.Second)
	if err != nil || first == nil || etag == "" {
		t.Fatalf("first state: %v, %q, %v", first, etag, err)
	}
	waiting := st.poll(c, etag, 30*time.Second)
	st.change(func() {}) // a change of another service wakes nobody up for good
	select {
	case a := <-waiting:
		t.Fatalf("answered without a change: %+v", a)
	case <-time.After(20 * time.Millisecond):
	}
	st.change(func() { st.state.Callers = []string{"spiffe://test.example/db"} })
	a := await(t, waiting)
	if a.err != nil || a.state == nil || len(a.state.Callers) != 1 || a.etag == etag {
		t.Errorf("after the change: %+v", a)
	}
}

func TestLongPollWithoutAChangeEndsUnchanged(t *testing.T) {
	st := start(t, nil)
	c := st.client("web")
	_, etag, err := c.AgentState(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	again, same, err := c.AgentState(t.Context(), etag, 0)
	if err != nil || again != nil || same != etag {
		t.Errorf("without wait: %v, %q, %v; want nil and the same tag", again, same, err)
	}
	begin := time.Now()
	again, same, err = c.AgentState(t.Context(), etag, time.Second)
	if took := time.Since(begin); err != nil || again != nil || same != etag || took < time.Second {
		t.Errorf("with wait: %v, %q, %v after %v", again, same, err, took)
	}
}

func TestLongPollOutlivesTheLimitsOfOtherRequests(t *testing.T) {
	for _, proto := range []string{"h2", "http/1.1"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			st := start(t, func(cfg *Config) {
				// Less than the wait, and enough for a handshake on a busy machine.
				cfg.Limits = Limits{Read: 900 * time.Millisecond, Write: 900 * time.Millisecond}
			})
			config := st.tls("web")
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: proto == "h2"}}
			defer client.CloseIdleConnections()
			_, etag, err := st.client("web").AgentState(t.Context(), "", 0)
			if err != nil {
				t.Fatal(err)
			}
			request, _ := http.NewRequest(http.MethodGet, st.api+api.PathAgentState, nil)
			request.Header.Set("If-None-Match", etag)
			request.Header.Set(api.HeaderPrefer, "respond-async, wait=2")
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusNotModified {
				t.Errorf("status %d; want 304 after two seconds", response.StatusCode)
			}
		})
	}
}

func TestRevocationEndsAWaitingRequestAndTheConnection(t *testing.T) {
	st := start(t, nil)
	config := st.tls("web")
	c, err := api.NewClient(st.api, config)
	if err != nil {
		t.Fatal(err)
	}
	_, etag, err := c.AgentState(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	waiting := st.poll(c, etag, 30*time.Second)
	st.change(func() {
		st.refuse[config.Certificates[0].Leaf.SerialNumber.String()] = &api.Error{Code: api.CodeRevoked, Message: "the certificate is revoked"}
	})
	var refused *api.Error
	if a := await(t, waiting); !errors.As(a.err, &refused) || refused.Code != api.CodeRevoked {
		t.Errorf("waiting request: %+v; want revoked", a)
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

func TestShutdownAnswersWaitingAgentsAtOnce(t *testing.T) {
	st := start(t, nil)
	c := st.client("web")
	_, etag, err := c.AgentState(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	waiting := st.poll(c, etag, 60*time.Second)
	begin := time.Now()
	st.stop()
	if a := await(t, waiting); a.err != nil || a.state != nil {
		t.Errorf("waiting request at the shutdown: %+v; want unchanged", a)
	}
	if err := <-st.done; err != nil || time.Since(begin) > 5*time.Second {
		t.Errorf("shutdown: %v after %v", err, time.Since(begin))
	}
	st.done <- nil
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
