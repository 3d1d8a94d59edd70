package certs

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestPinnedConfig(t *testing.T) {
	now := time.Now()
	w := newWorld(t, now)
	good := w.issuer.leaf("spiffe://prod.test/handfast/ca")
	serve := func(own *tls.Certificate, more ...*authority) *tls.Config {
		sent := *own
		for _, a := range more {
			sent.Certificate = append(sent.Certificate, a.cert.Raw)
		}
		return &tls.Config{Certificates: []tls.Certificate{sent}}
	}
	twin := newWorld(t, now)
	for _, test := range []struct {
		name   string
		server *tls.Config
		pin    string
		cause  Cause
	}{
		{"the CA", serve(good, w.root), Fingerprint(w.root.cert), ""},
		{"with colons, in capitals", serve(good, w.root), colons(Fingerprint(w.root.cert)), ""},
		{"another CA", serve(twin.issuer.leaf("spiffe://prod.test/handfast/ca"), twin.root), Fingerprint(w.root.cert), CauseUnknownAuthority},
		{"another CA that sends the root along", serve(twin.issuer.leaf("spiffe://prod.test/handfast/ca"), twin.root, w.root), Fingerprint(w.root.cert), CauseUnknownAuthority},
		{"without the root", serve(good), Fingerprint(w.root.cert), CauseUnknownAuthority},
		{"a service of the same CA", serve(w.issuer.leaf("spiffe://prod.test/web"), w.root), Fingerprint(w.root.cert), CauseWrongIdentity},
		{"pinned to the issuer", serve(good, w.root), Fingerprint(w.issuer.cert), CauseBadChain},
		{"pinned to the leaf", serve(good, w.root), Fingerprint(good.Leaf), CauseBadChain},
		{"expired", serve(w.issuer.leaf("spiffe://prod.test/handfast/ca", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), w.root), Fingerprint(w.root.cert), CauseExpired},
		{"a client's certificate", serve(w.issuer.leaf("spiffe://prod.test/handfast/ca", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), w.root), Fingerprint(w.root.cert), CauseBadChain},
		{"no identity", serve(w.issuer.leaf(""), w.root), Fingerprint(w.root.cert), CauseNoIdentity},
	} {
		var heard *Refusal
		client, err := PinnedConfig(test.pin, WithClock(func() time.Time { return now }), OnRefusal(func(r *Refusal) { heard = r }))
		if err != nil {
			t.Fatal(err)
		}
		_, atClient, _ := shake(t, test.server, client)
		if causeOf(t, atClient) != test.cause || (heard != nil) != (test.cause != "") {
			t.Errorf("%s: %v (heard %v)", test.name, atClient, heard)
		}
	}
	for _, pin := range []string{"", "xyz", strings.Repeat("a", 62), strings.Repeat("a", 66)} {
		if _, err := PinnedConfig(pin); err == nil {
			t.Errorf("pin %q was taken", pin)
		}
	}
}

func colons(fingerprint string) string {
	var pairs []string
	for i := 0; i < len(fingerprint); i += 2 {
		pairs = append(pairs, strings.ToUpper(fingerprint[i:i+2]))
	}
	return strings.Join(pairs, ":")
}
