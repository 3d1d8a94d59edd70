package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
)

func TestPanicBecomesAnAnswerAndIsCounted(t *testing.T) {
	st := start(t, nil)
	st.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) { panic("canary-in-a-panic") }
	for range st.server.cfg.Limits.Slots + 1 { // a slot that is not given back would block
		var refused *api.Error
		_, err := st.client("").Enroll(t.Context(), &api.EnrollRequest{Token: "good", CSR: newCSR(t)}, "")
		if !errors.As(err, &refused) || refused.Code != api.CodeInternal || refused.Status != 500 || refused.RequestID == "" {
			t.Fatalf("%v; want internal with a request id", err)
		}
		if !strings.Contains(st.logs.String(), refused.RequestID) {
			t.Fatal("the log does not have the request id")
		}
		if strings.Contains(err.Error(), "canary") {
			t.Fatalf("the answer tells the panic's value: %v", err)
		}
	}
	if got := st.metric("panics_total"); got != float64(st.server.cfg.Limits.Slots+1) {
		t.Errorf("panics = %v", got)
	}
	if strings.Contains(st.logs.String(), "canary-in-a-panic") {
		t.Error("the log has the panic's value, which may be a secret")
	}
	if !strings.Contains(st.logs.String(), "server_test.go") {
		t.Error("the log does not have the stack")
	}
}

func TestInternalCauseIsOnlyInTheLog(t *testing.T) {
	st := start(t, nil)
	st.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) { return nil, errors.New("disk 7 is on fire") }
	_, err := st.client("").Enroll(t.Context(), &api.EnrollRequest{Token: "good", CSR: newCSR(t)}, "")
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Code != api.CodeInternal || strings.Contains(err.Error(), "fire") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(st.logs.String(), "disk 7 is on fire") {
		t.Error("the log does not have the cause")
	}
}

// Invariant 18, for this door: neither tokens nor CSRs nor keys enter the log.
func TestLogHoldsNoSecret(t *testing.T) {
	st := start(t, nil)
	st.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) { return &ca.Issued{}, nil }
	c := st.client("")
	for _, token := range []string{"good-canary-token", "bad-canary-token"} {
		c.Enroll(t.Context(), &api.EnrollRequest{Token: token, CSR: []byte("canary-csr")}, "canary-key") //nolint:errcheck // one is refused
	}
	minted, err := st.client("handfast/operator/adam").CreateToken(t.Context(), &api.TokenRequest{Service: "web"})
	if err != nil || minted.Token != "canary-token-web" {
		t.Fatalf("token: %+v, %v", minted, err)
	}
	// What people do by mistake.
	for _, target := range []string{"/v1/enroll?token=canary-query", "/canary-path", "/v1/services/canary-path"} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: st.tls("")}}
		request, _ := http.NewRequest(http.MethodPost, st.api+target, strings.NewReader(`{"token":["canary-body"],"csr":"canary-body"}`))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer canary-header")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		client.CloseIdleConnections()
	}
	log := st.logs.String()
	if !strings.Contains(log, "POST /v1/enroll") || !strings.Contains(log, "spiffe://test.example/handfast/operator/adam") {
		t.Fatalf("the log misses what it should have:\n%s", log)
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "canary") {
			t.Errorf("a secret in the log: %s", line)
		}
	}
}

func TestRequestsAreCountedByRouteOnly(t *testing.T) {
	st := start(t, nil)
	c := st.client("handfast/operator/rene")
	if err := c.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Service(t.Context(), "one")          //nolint:errcheck // not found
	c.Service(t.Context(), "two")          //nolint:errcheck // not found
	http.Get(st.public + "/no/such/thing") //nolint:errcheck,bodyclose // counted only
	if got := st.metric("requests_total", "GET /v1/services/{name...}", "404"); got != 2 {
		t.Errorf("requests = %v, want 2", got)
	}
	metrics, err := c.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"requests_total", "request_duration_seconds", "requests_in_flight 1", "panics_total", "feed_streams", "certificate_not_after_seconds"} {
		if !strings.Contains(string(metrics), "handfast_server_"+name) {
			t.Errorf("/metrics does not show %s", name)
		}
	}
	if strings.Contains(string(metrics), "such") {
		t.Error("a client chose a label")
	}
}

func TestShutdownFinishesAcceptedRequests(t *testing.T) {
	st := start(t, nil)
	accepted, finish := make(chan struct{}), make(chan struct{})
	st.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) {
		close(accepted)
		<-finish
		return &ca.Issued{Chain: [][]byte{{1}}}, nil
	}
	c := st.client("")
	result := make(chan error, 1)
	go func() {
		issued, err := c.Enroll(context.Background(), &api.EnrollRequest{Token: "good", CSR: newCSR(t)}, "")
		if err == nil && len(issued.Chain) != 1 {
			err = errors.New("an answer without its certificate")
		}
		result <- err
	}()
	<-accepted
	st.stop()
	<-st.server.stopping
	close(finish)
	if err := <-result; err != nil {
		t.Errorf("the accepted request: %v", err)
	}
	if err := <-st.done; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	st.done <- nil
}

func TestShutdownEndsAtItsDeadline(t *testing.T) {
	st := start(t, func(cfg *Config) { cfg.Limits.Shutdown = 50 * time.Millisecond })
	accepted, finish := make(chan struct{}), make(chan struct{})
	defer close(finish)
	st.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) {
		close(accepted)
		<-finish
		return &ca.Issued{}, nil
	}
	c := st.client("")
	go c.Enroll(context.Background(), &api.EnrollRequest{Token: "good", CSR: newCSR(t)}, "") //nolint:errcheck // it is cut
	<-accepted
	st.stop()
	err := <-st.done
	if err == nil || !strings.Contains(err.Error(), "API listener") || !strings.Contains(err.Error(), "cut") {
		t.Errorf("shutdown with a request that does not end: %v", err)
	}
	st.done <- nil
}

func TestOccupiedPortSaysWhichAndHowToChangeIt(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for setting, addresses := range map[string]Addresses{
		"address":         {API: address, Public: "127.0.0.1:0"},
		"public_address":  {API: "127.0.0.1:0", Public: address},
		"metrics_address": {API: "127.0.0.1:0", Public: "127.0.0.1:0", Metrics: address},
	} {
		_, err := Listen(t.Context(), addresses)
		if err == nil {
			t.Fatalf("%s: a second listener on %s", setting, address)
		}
		for _, want := range []string{address, "another program listens there", "give another " + setting + " in config.yaml"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q in it", setting, err, want)
			}
		}
	}
}

func TestHandshakeRules(t *testing.T) {
	st := start(t, nil)
	config := st.tls("")
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(st.api, "https://"), config); err == nil {
		conn.Close()
		t.Error("TLS 1.2 was accepted")
	}
	if !st.server.TLSConfig().SessionTicketsDisabled {
		t.Error("session tickets are on")
	}
}

// Requests of one address that fail too often are refused before any work; those that
// succeed never are, and other addresses are not concerned.
func TestFailingAddressIsSlowedDown(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	l := newLimiter(Limits{Slots: 1, Queue: time.Second, FailureRate: 1, FailureBurst: 3}, clock)
	const here, there = "192.0.2.7:1000", "192.0.2.8:1000"
	for range 100 {
		if err := l.forgiven(here); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		l.charge(network(here))
	}
	var refused *api.Error
	if err := l.forgiven("192.0.2.7:2000"); !errors.As(err, &refused) || refused.Code != api.CodeRateLimited || refused.RetryAfter < time.Second {
		t.Fatalf("after three failures: %v", err)
	}
	if err := l.forgiven(there); err != nil {
		t.Errorf("another address: %v", err)
	}
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	if err := l.forgiven(here); err != nil {
		t.Errorf("a second later: %v", err)
	}
	for i := range 3 * maxAddresses {
		l.charge(network(net.JoinHostPort(net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)).String(), "1")))
	}
	if len(l.failures) > maxAddresses {
		t.Errorf("%d addresses are remembered", len(l.failures))
	}
}

func TestNetworkOfAnAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80":              "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64",
		"[::ffff:192.0.2.1]:80":     "192.0.2.1/32",
		"[fe80::1%eth0]:80":         "fe80::/64",
		"pipe":                      "invalid Prefix",
	} {
		if got := network(remote).String(); got != want {
			t.Errorf("network(%q) = %s, want %s", remote, got, want)
		}
	}
}

func TestFloodOfBadEnrolmentsIsAnswered429(t *testing.T) {
	st := start(t, func(cfg *Config) { cfg.Limits.FailureBurst = 5; cfg.Limits.FailureRate = 0.01 })
	c := st.client("")
	var last *api.Error
	for range 7 {
		_, err := c.Enroll(t.Context(), &api.EnrollRequest{Token: "bad", CSR: []byte{1}}, "")
		if !errors.As(err, &last) {
			t.Fatal(err)
		}
	}
	if last.Code != api.CodeRateLimited || last.Status != http.StatusTooManyRequests || last.RetryAfter < time.Second {
		t.Errorf("after seven failures: %+v", last)
	}
	if err := c.Health(t.Context()); err != nil {
		t.Errorf("another route: %v", err)
	}
}

func TestBusyEnrolmentIsAnswered429(t *testing.T) {
	st := start(t, func(cfg *Config) { cfg.Limits.Slots = 1; cfg.Limits.Queue = 10 * time.Millisecond })
	entered, finish := make(chan struct{}), make(chan struct{})
	st.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) {
		close(entered)
		<-finish
		return &ca.Issued{}, nil
	}
	c := st.client("")
	first := make(chan error, 1)
	go func() {
		_, err := c.Enroll(context.Background(), &api.EnrollRequest{Token: "good", CSR: []byte{1}}, "")
		first <- err
	}()
	<-entered
	var refused *api.Error
	if _, err := c.Enroll(t.Context(), &api.EnrollRequest{Token: "good", CSR: []byte{1}}, ""); !errors.As(err, &refused) || refused.Code != api.CodeRateLimited {
		t.Errorf("while the only slot is taken: %v", err)
	}
	close(finish)
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
}
