package ca_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

func TestAuthenticateRefuses(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	twin := newWorld(t) // the same names, other keys
	foreign := twin.enroll("shop/cart")
	server, err := w.ServerCertificate(t.Context(), []string{"ca"}, nil)
	must(t, err)
	w.peer(a) // now in the cache
	for name, test := range map[string]struct {
		chain []*x509.Certificate
		code  api.Code
	}{
		"nobody":                      {nil, api.CodeUnauthenticated},
		"another CA of the same name": {foreign.chain, api.CodeUnauthenticated},
		"another CA's leaf, our chain": {
			append([]*x509.Certificate{foreign.chain[0]}, a.chain[1:]...), api.CodeUnauthenticated},
		"no intermediate": {a.chain[:1:1], ""}, // verified before: the leaf alone says it
		"the issuer":      {a.chain[1:], api.CodeUnauthenticated},
		"the root":        {[]*x509.Certificate{w.root}, api.CodeUnauthenticated},
		"the CA's server": {[]*x509.Certificate{server.Leaf, a.chain[1]}, api.CodeForbidden},
		"not in the ledger": {
			[]*x509.Certificate{w.rogue(t, w.rootKey, w.root, big.NewInt(77), "shop/cart"), w.root}, api.CodeUnauthenticated},
		"a taken serial, signed by the root": {
			[]*x509.Certificate{w.rogue(t, w.rootKey, w.root, a.chain[0].SerialNumber, "shop/cart"), w.root}, api.CodeUnauthenticated},
	} {
		_, err := w.Authenticate(t.Context(), test.chain)
		if test.code == "" {
			must(t, err)
			continue
		}
		wantCode(t, name, err, test.code)
	}
	other := newWorld(t)
	_, err = other.Authenticate(t.Context(), a.chain[:1])
	wantCode(t, "no intermediate, not seen before", err, api.CodeUnauthenticated)
	w.advance(time.Hour + time.Second)
	_, err = w.Authenticate(t.Context(), a.chain)
	wantCode(t, "expired, although cached", err, api.CodeExpired)
}

// rogue is signed by a CA key outside of the CA.
func (w *world) rogue(t *testing.T, key any, parent *x509.Certificate, serial *big.Int, path string) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: epoch.Add(-time.Minute), NotAfter: epoch.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "test.example", Path: "/" + path}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, newKey(t).Public(), key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	return certificate
}

// TestAuthenticateChecksOnEachCall keeps a connection open while its rights end.
func TestAuthenticateChecksOnEachCall(t *testing.T) {
	w := newWorld(t)
	person := w.operator("op")
	w.operator("other")
	peer := w.peer(person)
	if peer.Kind != ca.KindOperator || peer.Name != "op" {
		t.Fatalf("peer = %+v", peer)
	}
	operator, err := w.Operator(t.Context(), peer)
	if err != nil || operator.Role != "admin" {
		t.Errorf("operator = %+v, %v", operator, err)
	}
	must(t, w.DeleteOperator(t.Context(), admin, "op"))
	_, err = w.Operator(t.Context(), peer)
	wantCode(t, "operator after its removal", err, api.CodeForbidden)
	_, err = w.RenewOperator(t.Context(), peer, csr(t, newKey(t)), "")
	wantCode(t, "renew after its removal", err, api.CodeRevoked)
	_, err = w.Authenticate(t.Context(), person.chain)
	wantCode(t, "authenticate after its removal", err, api.CodeRevoked)
	// The name comes back; the old certificate does not.
	w.operator("op")
	_, err = w.Authenticate(t.Context(), person.chain)
	wantCode(t, "the old certificate under the new registration", err, api.CodeRevoked)
}

func TestOperatorsAreAddedOnce(t *testing.T) {
	w := newWorld(t)
	w.operator("op")
	_, err := w.BootstrapOperator(t.Context(), "op", "admin", csr(t, newKey(t)))
	wantCode(t, "twice", err, api.CodeConflict)
	for name, r := range map[string]api.OperatorRequest{
		"reserved characters": {Name: "../x", Role: "admin"},
		"role":                {Name: "x", Role: "root"},
		"issuer of nothing":   {Name: "x", Role: "issuer"},
		"bound reader":        {Name: "x", Role: "reader", Services: []string{"a"}},
	} {
		r.CSR = csr(t, newKey(t))
		_, err := w.AddOperator(t.Context(), admin, r)
		wantCode(t, name, err, api.CodeRefused)
	}
	_, err = w.AddOperator(t.Context(), bearer, api.OperatorRequest{Name: "x", Role: "admin", CSR: csr(t, newKey(t))})
	wantCode(t, "an issuer adds an admin", err, api.CodeForbidden)
	wantCode(t, "the last admin", w.DeleteOperator(t.Context(), admin, "op"), api.CodeConflict)
	wantCode(t, "nobody", w.DeleteOperator(t.Context(), admin, "nobody"), api.CodeNotFound)
	wantCode(t, "by an issuer", w.DeleteOperator(t.Context(), bearer, "op"), api.CodeForbidden)
	if list, err := w.Operators(t.Context(), reader); err != nil || len(list) != 1 {
		t.Errorf("operators = %v, %v", list, err)
	}
}

func TestServerCertificateEndsInTheRootAndIsRecorded(t *testing.T) {
	w := newWorld(t)
	certificate, err := w.ServerCertificate(t.Context(), []string{"ca.test.example"}, nil)
	must(t, err)
	last, err := x509.ParseCertificate(certificate.Certificate[len(certificate.Certificate)-1])
	must(t, err)
	if certs.Fingerprint(last) != certs.Fingerprint(w.root) || len(certificate.Certificate) != 3 {
		t.Errorf("chain of %d ends in %s", len(certificate.Certificate), last.Subject)
	}
	must(t, certificate.Leaf.VerifyHostname("ca.test.example"))
	if id, err := certs.IDFromCertificate(certificate.Leaf); err != nil || id.String() != "spiffe://test.example/handfast/ca" {
		t.Errorf("identity = %s, %v", id, err)
	}
	row, err := w.Certificate(t.Context(), reader, must2(certs.SerialFromInt(certificate.Leaf.SerialNumber)))
	if err != nil || row.Kind != ca.KindServer {
		t.Errorf("row = %+v, %v", row, err)
	}
}

func must2[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// FuzzRekey sends arbitrary parts under a good certificate: no answer but a refusal with a code.
func FuzzRekey(f *testing.F) {
	w := newWorld(f)
	a := w.enroll("shop/cart")
	good := w.rekeyRequest(a)
	f.Add(good.Chain[0], good.CSR, good.Nonce, good.Signature)
	empty, err := asn1.Marshal(struct{}{})
	must(f, err)
	f.Add(empty, empty, make([]byte, 16), empty)
	f.Add([]byte(nil), []byte(nil), []byte(nil), []byte(nil))
	must(f, func() error { _, err := w.Rekey(f.Context(), good, ""); return err }()) // its nonce is used up
	f.Fuzz(func(t *testing.T, leaf, csr, nonce, signature []byte) {
		issued, err := w.Rekey(t.Context(), &api.RekeyRequest{
			Chain: [][]byte{leaf, a.issued.Chain[1]}, CSR: csr, Nonce: nonce, SignedAt: w.clock(), Signature: signature,
		}, "")
		if issued != nil || err == nil {
			t.Fatal("a certificate for nothing")
		}
		if code := codeOf(err); code == "" || code == api.CodeInternal {
			t.Fatalf("%v: code %q", err, code)
		}
	})
}

// What Authenticate answers changes only with the clock, with what Remains says, or with the Basis.
func TestBasis(t *testing.T) {
	w := newWorld(t)
	basis := func() ca.Basis { return must2(w.Basis(t.Context())) }
	a := w.enroll("shop/cart")
	peer, first := w.peer(a), basis()
	must2(w.Enroll(t.Context(), claim("shop/cart", "another"), csr(t, newKey(t)), ""))
	if basis() != first {
		t.Error("another certificate changes it")
	}
	must(t, w.Remains(peer))
	w.revokeSerial(a.serial())
	wantCode(t, "remains", w.Remains(peer), api.CodeRevoked)
	if basis() != first {
		t.Error("a revocation changes it, which Remains is for")
	}
	must(t, w.Exchange(t.Context(), w.authorities(w.newIssuer(0), w.issuer)))
	second := basis()
	w.put("shop/other")
	if third := basis(); second == first || third == second {
		t.Errorf("another issuer, or another service, does not change it: %v, %v, %v", first, second, third)
	}
}

// Who was accepted stays entitled for as long as its service is registered and its chain would verify again.
func TestEntitled(t *testing.T) {
	w := newWorld(t)
	peer, other := w.peer(w.enroll("shop/cart")), w.newIssuer(0)
	if peer.Issuer() != w.issuer.ID() {
		t.Errorf("issuer %q", peer.Issuer())
	}
	entitled := func() error { return w.Entitled(t.Context(), peer) }
	exchange := func(next ca.Authorities) { must(t, w.Exchange(t.Context(), next)) }
	must(t, entitled())
	exchange(w.authorities(other, w.issuer))
	must(t, entitled())

	exchange(w.authorities(other))
	wantCode(t, "without its issuer", entitled(), api.CodeUnavailable)

	key := newKey(t)
	root, err := issuer.NewRoot(key, issuer.RootRequest{TrustDomain: w.td, NotBefore: epoch.Add(-time.Hour)})
	must(t, err)
	both := w.authorities(w.issuer)
	both.Roots = append(both.Roots, root)
	exchange(both)
	must(t, entitled())
	strange := w.authorities(w.issuer)
	strange.Roots = []*x509.Certificate{root}
	exchange(strange)
	wantCode(t, "without its root", entitled(), api.CodeUnavailable)

	exchange(w.authorities(w.issuer))
	must(t, entitled())
	must(t, w.DeleteService(t.Context(), admin, "shop/cart", ca.AnyVersion))
	wantCode(t, "without its service", entitled(), api.CodeServiceUnknown)

	peer.Kind = ca.KindOperator
	wantCode(t, "an operator", entitled(), api.CodeForbidden)

	nobody := ca.Peer{Kind: ca.KindService, Name: "shop/cart"}
	wantCode(t, "nobody", w.Entitled(t.Context(), nobody), api.CodeUnauthenticated)
	wantCode(t, "nobody", w.Remains(nobody), api.CodeUnauthenticated)
}
