package ca_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

func TestEnrollHandsOutWhatTheLedgerHolds(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	row, err := w.ledger.Certificate(t.Context(), a.serial())
	must(t, err)
	if !bytes.Equal(row.DER, a.issued.Chain[0]) || row.Method != ca.MethodToken || row.Kind != ca.KindService || row.Name != "shop/cart" {
		t.Errorf("row = %+v, want what was handed out", row)
	}
	bundle, err := certs.NewBundle(w.td, []*x509.Certificate{w.root})
	must(t, err)
	if _, err := certs.VerifyChain(a.chain, bundle, x509.ExtKeyUsageClientAuth, w.clock()); err != nil {
		t.Error(err)
	}
	if id, err := certs.IDFromCertificate(a.chain[0]); err != nil || id.String() != "spiffe://test.example/shop/cart" {
		t.Errorf("identity = %s, %v", id, err)
	}
	life := row.NotAfter.Sub(row.NotBefore)
	if want := row.NotBefore.Add(life * 2 / 3).Truncate(time.Second); !a.issued.RenewAfter.Equal(want) {
		t.Errorf("renew after %s, want %s", a.issued.RenewAfter, want)
	}
	if a.issued.Grace != 24*time.Hour || !bytes.Equal(a.issued.Roots[0], w.root.Raw) {
		t.Errorf("grace %s, %d roots", a.issued.Grace, len(a.issued.Roots))
	}
}

// TestInvariant08NamesComeFromPolicyOnly asks with a CSR full of names, at each door.
func TestInvariant08NamesComeFromPolicyOnly(t *testing.T) {
	w := newWorld(t)
	_, err := w.PutService(t.Context(), admin, policy.Service{
		Name: "shop/cart", DNSNames: []string{"Cart.Shop.SVC"}, IPs: []netip.Addr{netip.MustParseAddr("10.1.2.3")},
	}, 0)
	must(t, err)
	greedy := func() []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: "admin", Organization: []string{"evil"}}, DNSNames: []string{"evil.example", "*"},
			IPAddresses: []net.IP{net.IPv4(6, 6, 6, 6)}, EmailAddresses: []string{"a@evil.example"},
			URIs: []*url.URL{{Scheme: "spiffe", Host: "test.example", Path: "/handfast/operator/admin"}},
		}, newKey(t))
		must(t, err)
		return der
	}
	check := func(door string, issued *ca.Issued, err error) agent {
		t.Helper()
		must(t, err)
		a := newAgent(t, nil, issued)
		leaf := a.chain[0]
		if !slices.Equal(leaf.DNSNames, []string{"cart.shop.svc"}) || len(leaf.IPAddresses) != 1 || leaf.IPAddresses[0].String() != "10.1.2.3" ||
			len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://test.example/shop/cart" || len(leaf.EmailAddresses) != 0 {
			t.Errorf("%s: names %v %v %v %v", door, leaf.DNSNames, leaf.IPAddresses, leaf.URIs, leaf.EmailAddresses)
		}
		if strings.Contains(leaf.Subject.String(), "evil") || strings.Contains(leaf.Subject.String(), "admin") || leaf.IsCA {
			t.Errorf("%s: subject %s, CA %v", door, leaf.Subject, leaf.IsCA)
		}
		return a
	}
	issued, err := w.Enroll(t.Context(), claim("shop/cart", "t"), greedy(), "")
	a := check("enroll", issued, err)
	issued, err = w.Renew(t.Context(), w.peer(a), greedy(), "")
	check("renew", issued, err)
	issued, err = w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: greedy()}, "")
	check("issue", issued, err)
	a = w.enroll("shop/pay")
	w.put("shop/pay")
	r := w.rekeyRequest(a)
	r.CSR = greedy()
	w.sign(a, r)
	issued, err = w.Rekey(t.Context(), r, "")
	must(t, err)
	if leaf := newAgent(t, nil, issued).chain[0]; len(leaf.DNSNames) != 0 || len(leaf.URIs) != 1 || leaf.URIs[0].Path != "/shop/pay" {
		t.Errorf("rekey: names %v %v", leaf.DNSNames, leaf.URIs)
	}
}

func TestRefusalsByCode(t *testing.T) {
	w := newWorld(t)
	w.put("shop/cart")
	good := csr(t, newKey(t))
	enroll := func(c ca.Claim, csr []byte, idem string) error {
		_, err := w.Enroll(t.Context(), c, csr, idem)
		return err
	}
	wantCode(t, "unregistered", enroll(claim("nobody", "1"), good, ""), api.CodeServiceUnknown)
	wantCode(t, "reserved", enroll(claim("handfast/operator/admin", "1"), good, ""), api.CodeBadRequest)
	wantCode(t, "bad CSR", enroll(claim("shop/cart", "1"), []byte("x"), ""), api.CodeBadCSR)
	wantCode(t, "no CSR", enroll(claim("shop/cart", "1"), nil, ""), api.CodeBadCSR)
	wantCode(t, "huge CSR", enroll(claim("shop/cart", "1"), make([]byte, api.MaxCSR+1), ""), api.CodeTooLarge)
	wantCode(t, "long key", enroll(claim("shop/cart", "1"), good, strings.Repeat("k", 65)), api.CodeBadRequest)
	wantCode(t, "invisible key", enroll(claim("shop/cart", "1"), good, "a b"), api.CodeBadRequest)
	for _, method := range []ca.Method{"", ca.MethodRenew, ca.MethodOperator, ca.MethodInternal, "scep"} {
		c := claim("shop/cart", "1")
		c.Method = method
		wantCode(t, "method "+string(method), enroll(c, good, ""), api.CodeTokenInvalid)
	}
	must(t, enroll(claim("shop/cart", "1"), good, "")) // none of the above used the token up
	wantCode(t, "used token", enroll(claim("shop/cart", "1"), good, ""), api.CodeTokenUsed)

	_, err := w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: good, TTL: api.Duration(2 * time.Hour)}, "")
	wantCode(t, "too long", err, api.CodeRefused)
	_, err = w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: good, TTL: api.Duration(-time.Hour)}, "")
	wantCode(t, "negative", err, api.CodeRefused)
	issued, err := w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: good, TTL: api.Duration(10 * time.Minute)}, "")
	must(t, err)
	if want := epoch.Add(10 * time.Minute); !issued.Certificate.NotAfter.Equal(want) {
		t.Errorf("expires %s, want %s", issued.Certificate.NotAfter, want)
	}
}

func TestIdempotencyAtEachDoor(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	c, request := claim("shop/cart", "again"), csr(t, newKey(t))
	peer, rekey := w.peer(a), w.rekeyRequest(a)
	doors := map[string]func(csr []byte, idem string) (*ca.Issued, error){
		"enroll": func(csr []byte, idem string) (*ca.Issued, error) { return w.Enroll(t.Context(), c, csr, idem) },
		"renew":  func(csr []byte, idem string) (*ca.Issued, error) { return w.Renew(t.Context(), peer, csr, idem) },
		"issue": func(csr []byte, idem string) (*ca.Issued, error) {
			return w.Issue(t.Context(), admin, api.IssueRequest{Service: "shop/cart", CSR: csr}, idem)
		},
		"rekey": func(csr []byte, idem string) (*ca.Issued, error) {
			rekey.CSR = csr
			w.sign(a, rekey)
			return w.Rekey(t.Context(), rekey, idem)
		},
	}
	serials := map[certs.Serial]string{}
	for door, ask := range doors {
		first, err := ask(request, "key")
		must(t, err)
		second, err := ask(request, "key")
		must(t, err)
		if !second.Replayed || !bytes.Equal(first.Chain[0], second.Chain[0]) {
			t.Errorf("%s: the repetition led to another certificate", door)
		}
		_, err = ask(csr(t, newKey(t)), "key")
		wantCode(t, door+" with another CSR", err, api.CodeKeyReused)
		if other := serials[first.Certificate.Serial]; other != "" {
			t.Errorf("%s and %s share a key", door, other)
		}
		serials[first.Certificate.Serial] = door
		// Not for keyCompromise: the other doors are asked with the same key.
		_, _, err = w.Revoke(t.Context(), admin, api.RevokeRequest{Serial: first.Certificate.Serial, Reason: certs.Superseded})
		must(t, err)
		_, err = ask(request, "key")
		wantCode(t, door+" after a revocation", err, api.CodeRevoked)
	}
}

// TestIdempotencyKeysAreTheAskersOwn guesses another's key.
func TestIdempotencyKeysAreTheAskersOwn(t *testing.T) {
	w := newWorld(t)
	a, b := w.enroll("a"), w.enroll("b")
	request := csr(t, newKey(t))
	first, err := w.Renew(t.Context(), w.peer(a), request, "key")
	must(t, err)
	second, err := w.Renew(t.Context(), w.peer(b), request, "key")
	must(t, err)
	if second.Replayed || second.Certificate.ID == first.Certificate.ID {
		t.Error("b got a's certificate")
	}
}

func TestAuditHasOneSchemaAndNoSecrets(t *testing.T) {
	w := newWorld(t)
	a := w.enroll("shop/cart")
	text := w.log.String()
	for _, event := range []string{"issuing", "issued"} {
		if !strings.Contains(text, `"event":"`+event+`"`) {
			t.Errorf("no event %q in the log", event)
		}
	}
	for _, field := range []string{`"serial":"` + a.serial().String(), `"id":"spiffe://test.example/shop/cart"`, `"method":"token"`, `"by":`, `"kind":"service"`} {
		if !strings.Contains(text, field) {
			t.Errorf("no %s in the log", field)
		}
	}
	_, err := w.Enroll(t.Context(), claim("nobody", "x"), nil, "")
	wantCode(t, "unregistered", err, api.CodeServiceUnknown)
	if !strings.Contains(w.log.String(), `"code":"service_unknown"`) {
		t.Error("the refusal is not in the log")
	}
}
