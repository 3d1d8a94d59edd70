package revocation

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// What services import reads what is published here: with the CRL, the revoked
// certificate is refused as revoked, and the other one is not.
func TestCertsReadsCRLs(t *testing.T) {
	e := newEstate(t)
	pem := must[[]byte](t)(os.ReadFile(e.path("root.pem")))
	pool := must[[]*x509.Certificate](t)(certs.ParseCertificates(pem))
	td := must[certs.TrustDomain](t)(certs.ParseTrustDomain("example.test"))
	bundle := must[*certs.Bundle](t)(certs.NewBundle(td, pool))
	for _, test := range []struct {
		name string
		crls [][]byte
		leaf []byte
		want certs.Cause
	}{
		{"good", [][]byte{e.served(t, e.urls.Full())}, e.good.DER, ""},
		{"revoked", [][]byte{e.served(t, e.urls.Full())}, e.bad.DER, certs.CauseRevoked},
		{"revoked, before", [][]byte{e.before}, e.bad.DER, ""},
		{"on hold", [][]byte{e.served(t, e.urls.Full())}, e.held.DER, certs.CauseRevoked},
		{"released, before", [][]byte{e.holding}, e.released.DER, certs.CauseRevoked},
		{"released", [][]byte{e.served(t, e.urls.Full())}, e.released.DER, ""},
	} {
		revocation := must[*certs.Revocation](t)(certs.NewRevocation(test.crls))
		chain := []*x509.Certificate{must[*x509.Certificate](t)(x509.ParseCertificate(test.leaf)), e.issuer.Certificate()}
		_, err := certs.Verify(chain, &certs.Snapshot{Certificate: &tls.Certificate{}, Bundle: bundle, Revocation: revocation}, x509.ExtKeyUsageClientAuth, time.Now())
		var refusal *certs.Refusal
		if errors.As(err, &refusal); (err == nil) != (test.want == "") || (refusal != nil && refusal.Cause != test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	for name, der := range map[string][]byte{"delta": e.served(t, deltaOf(e.urls.Full())), "shard": e.served(t, e.urls.Shard(e.good.Serial))} {
		if _, err := certs.NewRevocation([][]byte{der}); err == nil {
			t.Errorf("a %s CRL is taken for a full one", name)
		}
	}
}
