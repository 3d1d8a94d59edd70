package revstatus_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/handfast/handfast/cmd/handfast/internal/revstatus"
)

// place is a CA, a certificate that names server, and what server answers.
type place struct {
	t                *testing.T
	now              time.Time
	issuer, stranger *x509.Certificate
	issuerKey        crypto.Signer
	strangerKey      crypto.Signer
	leaf             *x509.Certificate
	server           *httptest.Server
	answer           http.HandlerFunc
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, now: time.Now().Truncate(time.Second)}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.answer(w, r) }))
	t.Cleanup(p.server.Close)
	p.issuerKey, p.strangerKey = p.key(), p.key()
	p.issuer = p.certificate(p.authority("issuer"), nil, p.issuerKey.Public(), p.issuerKey)
	// The same name with another key: what a thief of the name would have.
	p.stranger = p.certificate(p.authority("issuer"), nil, p.strangerKey.Public(), p.strangerKey)
	p.leaf = p.certificate(&x509.Certificate{
		SerialNumber: big.NewInt(42), NotBefore: p.now.Add(-time.Hour), NotAfter: p.now.Add(time.Hour),
		OCSPServer: []string{p.server.URL + "/ocsp"}, CRLDistributionPoints: []string{p.server.URL + "/a.crl"},
	}, p.issuer, p.key().Public(), p.issuerKey)
	return p
}

func (p *place) authority(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: p.now.Add(-time.Hour), NotAfter: p.now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
}

func (p *place) key() crypto.Signer {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.fatal(err)
	return key
}

func (p *place) certificate(template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	p.t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	p.fatal(err)
	cert, err := x509.ParseCertificate(der)
	p.fatal(err)
	return cert
}

func (p *place) fatal(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) client() *revstatus.Client {
	return revstatus.New(func() time.Time { return p.now }, 5*time.Second)
}

func (p *place) send(mediaType string, body []byte) {
	p.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(body) // the client may have given up at its limit
	}
}

func (p *place) response(change func(*ocsp.Response), responder *x509.Certificate, signer crypto.Signer) []byte {
	p.t.Helper()
	r := ocsp.Response{Status: ocsp.Good, SerialNumber: p.leaf.SerialNumber, ThisUpdate: p.now.Add(-time.Minute), NextUpdate: p.now.Add(time.Hour)}
	change(&r)
	der, err := ocsp.CreateResponse(p.issuer, responder, r, signer)
	p.fatal(err)
	return der
}

func (p *place) delegate(usage ...x509.ExtKeyUsage) (*x509.Certificate, crypto.Signer) {
	key := p.key()
	return p.certificate(&x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "responder"}, NotBefore: p.now.Add(-time.Hour), NotAfter: p.now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage,
	}, p.issuer, key.Public(), p.issuerKey), key
}

func TestOCSP(t *testing.T) {
	p := newPlace(t)
	keep := func(*ocsp.Response) {}
	appointed, appointedKey := p.delegate(x509.ExtKeyUsageOCSPSigning)
	usurper, usurperKey := p.delegate(x509.ExtKeyUsageServerAuth)
	with := func(cert *x509.Certificate) func(*ocsp.Response) {
		return func(r *ocsp.Response) { r.Certificate = cert }
	}
	tests := []struct {
		name    string
		body    []byte
		want    revstatus.Status
		problem string
	}{
		{"good", p.response(keep, p.issuer, p.issuerKey), revstatus.Good, ""},
		{"revoked", p.response(func(r *ocsp.Response) {
			r.Status, r.RevokedAt, r.RevocationReason = ocsp.Revoked, p.now, ocsp.KeyCompromise
		}, p.issuer, p.issuerKey), revstatus.Revoked, ""},
		{"unknown", p.response(func(r *ocsp.Response) { r.Status = ocsp.Unknown }, p.issuer, p.issuerKey), revstatus.Unknown, ""},
		{"an appointed responder", p.response(with(appointed), appointed, appointedKey), revstatus.Good, ""},
		{"a certificate that may not sign", p.response(with(usurper), usurper, usurperKey), revstatus.Unavailable, "may not sign OCSP"},
		{"another key", p.response(keep, p.stranger, p.strangerKey), revstatus.Unavailable, "signature"},
		{"another serial", p.response(func(r *ocsp.Response) { r.SerialNumber = big.NewInt(43) }, p.issuer, p.issuerKey), revstatus.Unavailable, "no response"},
		{"stale", p.response(func(r *ocsp.Response) { r.NextUpdate = p.now.Add(-time.Hour) }, p.issuer, p.issuerKey), revstatus.Unavailable, "stale"},
		{"from the future", p.response(func(r *ocsp.Response) { r.ThisUpdate = p.now.Add(time.Hour) }, p.issuer, p.issuerKey), revstatus.Unavailable, "future"},
		{"without an end", p.response(func(r *ocsp.Response) { r.NextUpdate = time.Time{} }, p.issuer, p.issuerKey), revstatus.Unavailable, "until when"},
		{"refused", ocsp.UnauthorizedErrorResponse, revstatus.Unavailable, "unauthorized"},
		{"rubbish", []byte("hello"), revstatus.Unavailable, "asn1"},
		{"long", make([]byte, 65<<10), revstatus.Unavailable, "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p.send("application/ocsp-response", tt.body)
			got := p.client().OCSP(t.Context(), p.leaf, p.issuer)
			if got.Status != tt.want || !strings.Contains(got.Problem, tt.problem) || (tt.problem == "") != (got.Problem == "") {
				t.Fatalf("got %+v; want %s, %q", got, tt.want, tt.problem)
			}
			if got.Status == revstatus.Revoked && (got.Reason != "keyCompromise" || !got.RevokedAt.Equal(p.now)) {
				t.Fatalf("got %+v", got)
			}
		})
	}
	p.send("text/html", p.response(keep, p.issuer, p.issuerKey))
	if got := p.client().OCSP(t.Context(), p.leaf, p.issuer); got.Status != revstatus.Unavailable || !strings.Contains(got.Problem, "text/html") {
		t.Fatalf("a web page: %+v", got)
	}
}

// point is an issuingDistributionPoint extension: a URI, and the two flags.
func point(t *testing.T, uri string, flags ...int) pkix.Extension {
	t.Helper()
	var content []byte
	add := func(tag int, compound bool, value []byte) []byte {
		der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: value})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	if uri != "" {
		content = add(0, true, add(0, true, add(6, false, []byte(uri))))
	}
	for _, flag := range flags {
		content = append(content, add(flag, false, []byte{0xff})...)
	}
	der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: der}
}

func TestCRL(t *testing.T) {
	p := newPlace(t)
	revoked := []x509.RevocationListEntry{{SerialNumber: p.leaf.SerialNumber, RevocationTime: p.now, ReasonCode: 4}}
	other := []x509.RevocationListEntry{{SerialNumber: big.NewInt(43), RevocationTime: p.now}}
	crl := func(signer crypto.Signer, entries []x509.RevocationListEntry, next time.Duration, extensions ...pkix.Extension) []byte {
		cert := p.issuer
		if signer == p.strangerKey {
			cert = p.stranger
		}
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(9), ThisUpdate: p.now.Add(-2 * time.Hour), NextUpdate: p.now.Add(next), RevokedCertificateEntries: entries, ExtraExtensions: extensions,
		}, cert, signer)
		p.fatal(err)
		return der
	}
	here := p.server.URL + "/a.crl"
	delta := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}
	strange := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	tests := []struct {
		name    string
		body    []byte
		want    revstatus.Status
		problem string
	}{
		{"not on it", crl(p.issuerKey, other, time.Hour), revstatus.Good, ""},
		{"on it", crl(p.issuerKey, revoked, time.Hour), revstatus.Revoked, ""},
		{"its partition", crl(p.issuerKey, revoked, time.Hour, point(t, here)), revstatus.Revoked, ""},
		{"for users only", crl(p.issuerKey, nil, time.Hour, point(t, here, 1)), revstatus.Good, ""},
		{"another partition", crl(p.issuerKey, nil, time.Hour, point(t, here+"x")), revstatus.Unavailable, "another distribution point"},
		{"for CAs only", crl(p.issuerKey, nil, time.Hour, point(t, here, 2)), revstatus.Unavailable, "CA certificates only"},
		{"indirect", crl(p.issuerKey, nil, time.Hour, point(t, here, 4)), revstatus.Unavailable, "not understood"},
		{"delta", crl(p.issuerKey, nil, time.Hour, delta), revstatus.Unavailable, "delta"},
		{"unknown critical extension", crl(p.issuerKey, nil, time.Hour, strange), revstatus.Unavailable, "1.2.3"},
		{"stale", crl(p.issuerKey, nil, -time.Hour), revstatus.Unavailable, "stale"},
		{"another key", crl(p.strangerKey, nil, time.Hour), revstatus.Unavailable, "not signed by"},
		{"rubbish", []byte("hello"), revstatus.Unavailable, "x509"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p.send("application/pkix-crl", tt.body)
			got := p.client().CRL(t.Context(), p.leaf, p.issuer)
			if got.Status != tt.want || !strings.Contains(got.Problem, tt.problem) || (tt.problem == "") != (got.Problem == "") {
				t.Fatalf("got %+v; want %s, %q", got, tt.want, tt.problem)
			}
		})
	}
}

// SPIRE followed redirects into the network; this client does not, and asks web servers only.
func TestNoRedirectsAndNoOtherSchemes(t *testing.T) {
	p := newPlace(t)
	reached := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer elsewhere.Close()
	p.answer = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }
	if got := p.client().CRL(t.Context(), p.leaf, p.issuer); got.Status != revstatus.Unavailable || !strings.Contains(got.Problem, "302") {
		t.Errorf("CRL: %+v", got)
	}
	if got := p.client().OCSP(t.Context(), p.leaf, p.issuer); got.Status != revstatus.Unavailable || reached {
		t.Errorf("OCSP: %+v, reached %v", got, reached)
	}
	for _, source := range []string{"file:///etc/passwd", "ldap://x/y", "http://", "://"} {
		if _, err := p.client().FetchCRL(t.Context(), source); err == nil || !strings.Contains(err.Error(), "URL") {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestTheFullCRLIsBesideThePartition(t *testing.T) {
	p := newPlace(t)
	asked := ""
	p.answer = func(_ http.ResponseWriter, r *http.Request) { asked = r.URL.Path }
	for source, want := range map[string]string{
		"/crl/0a1b/16/3.crl": "/crl/0a1b.crl",
		"/crl/0a1b.crl":      "/crl/0a1b.crl",
		"/other/16/3.crl":    "/other/16/3.crl",
	} {
		if _, err := p.client().FetchFullCRL(t.Context(), p.server.URL+source); err != nil || asked != want {
			t.Errorf("%s: asked %s, %v; want %s", source, asked, err, want)
		}
	}
}

func TestASilentServerIsGivenUp(t *testing.T) {
	p := newPlace(t)
	release := make(chan struct{})
	p.answer = func(http.ResponseWriter, *http.Request) { <-release }
	defer close(release) // before the server's Close, which waits for its handlers
	client := revstatus.New(time.Now, 20*time.Millisecond)
	if got := client.OCSP(t.Context(), p.leaf, p.issuer); got.Status != revstatus.Unavailable || got.Problem == "" {
		t.Fatalf("got %+v", got)
	}
}

func TestNothingNamed(t *testing.T) {
	p := newPlace(t)
	if got := p.client().OCSP(t.Context(), p.issuer, p.issuer); got.Status != revstatus.NotNamed {
		t.Errorf("OCSP: %+v", got)
	}
	if got := p.client().CRL(t.Context(), p.issuer, p.issuer); got.Status != revstatus.NotNamed {
		t.Errorf("CRL: %+v", got)
	}
}
