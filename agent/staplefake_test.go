package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/certs"
)

// fakeResponder answers for a fakeCA. Its fields are guarded by mu.
type fakeResponder struct {
	ca *fakeCA

	mu     sync.Mutex
	life   time.Duration
	status int
	fail   error
	hang   bool
	asked  []time.Time
}

func newFakeResponder(ca *fakeCA) *fakeResponder {
	ca.pki.OCSP = "http://ocsp.test/"
	return &fakeResponder{ca: ca, life: time.Hour, status: ocsp.Good}
}

func (r *fakeResponder) do(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *fakeResponder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}

// fetch is a StapleFetcher.
func (r *fakeResponder) fetch(ctx context.Context, url string, request []byte) ([]byte, error) {
	r.mu.Lock()
	r.asked = append(r.asked, time.Now())
	fail, hang, status, life := r.fail, r.hang, r.status, r.life
	r.mu.Unlock()
	var parsed struct {
		TBS struct {
			List []struct {
				ID struct {
					Algorithm asn1.RawValue
					Name, Key []byte
					Serial    *big.Int
				}
			}
		}
	}
	if _, err := asn1.Unmarshal(request, &parsed); err != nil || url != "http://ocsp.test/" {
		r.ca.t.Errorf("%s was asked %x", url, request)
	}
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if fail != nil {
		return nil, fail
	}
	return r.ca.pki.Staple(&x509.Certificate{SerialNumber: parsed.TBS.List[0].ID.Serial}, status, life), nil
}

// stapleTo is the staple of the certificate that a shows, checked; zero without.
func stapleTo(t *testing.T, ca *fakeCA, a *Agent) (staple certs.Staple) {
	t.Helper()
	own := mustCurrent(t, a).Certificate
	if own.OCSPStaple == nil {
		return staple
	}
	staple, err := certs.CheckStaple(own.OCSPStaple, own.Leaf, ca.pki.Issuing, time.Now())
	if err != nil {
		t.Fatalf("a staple that peers would refuse: %v", err)
	}
	return staple
}

// fetched is how many fetches ended so.
func fetched(t *testing.T, registry *prometheus.Registry, result string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "handfast_agent_staple_fetches_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == result {
				return metric.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric of result %s", result)
	return 0
}

// shakeable reports whether the library would show what a has.
func shakeable(a *Agent) bool {
	config := certs.ServerConfig(a, certs.AllowPolicy(a))
	_, err := config.GetCertificate(&tls.ClientHelloInfo{})
	return err == nil
}
