package certs

import (
	"testing"
	"time"
)

// BenchmarkHandshake is a whole handshake, both sides; with staples both sides check one.
func BenchmarkHandshake(b *testing.B) {
	w := newWorld(b, time.Now().Truncate(time.Second))
	responder := w.issuer.responder()
	for _, with := range []bool{false, true} {
		api, web := w.snapshot(b, "api", "*"), w.snapshot(b, "web")
		name := "plain"
		if with {
			name = "stapled"
			api = api.with(api.Certificate, w.issuer.staple(responder, api.Certificate.Leaf))
			web = web.with(web.Certificate, w.issuer.staple(responder, web.Certificate.Leaf))
		}
		server, client := ServerConfig(fixed{api, nil}, AllowTrustDomain(w.td)), ClientConfig(fixed{web, nil}, api.ID)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if atServer, atClient, _ := shake(b, server, client); atServer != nil || atClient != nil {
					b.Fatal(atServer, atClient)
				}
			}
		})
	}
}

// BenchmarkCheckStaple is what a staple adds to one side of a handshake.
func BenchmarkCheckStaple(b *testing.B) {
	w := newWorld(b, time.Now().Truncate(time.Second))
	leaf := w.issuer.leaf("spiffe://prod.test/web").Leaf
	staple := w.issuer.staple(w.issuer.responder(), leaf)
	for name, memo := range map[string]*stapleMemo{"first": nil, "again": new(stapleMemo)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, refusal := checkStaple(staple, leaf, w.issuer.cert, memo, w.now); refusal != nil {
					b.Fatal(refusal)
				}
			}
		})
	}
}
