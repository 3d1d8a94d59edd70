package revocation

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"runtime"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/handfast/handfast/certs"
)

// million fills a log with n revocations of random serials.
func million(b *testing.B, log *memoryLog, issuer string, n int) {
	b.Helper()
	octets := make([]byte, 20*n)
	if _, err := rand.Read(octets); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		octets[20*i] = octets[20*i]&0x7f | 1
		serial, err := certs.SerialFromBytes(octets[20*i : 20*i+20])
		if err != nil {
			b.Fatal(err)
		}
		log.entries = append(log.entries, Entry{
			Sequence: uint64(i) + 1, Kind: Revoked, Issuer: issuer, Serial: serial, At: testStart, NotAfter: testStart.Add(time.Hour),
		})
	}
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc) / (1 << 20)
}

// BenchmarkCRLAfterRevocation is a new full CRL of a million certificates (and its delta)
// after one more revocation; the fold and the CRL stay in memory.
func BenchmarkCRLAfterRevocation(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"1000", 1000}, {"1000000", 1_000_000}} {
		b.Run(size.name, func(b *testing.B) {
			ca := newTestCA(b, "Example", testStart)
			log := newMemoryLog()
			million(b, log, ca.ID(), size.n)
			clock := newTestClock()
			empty := heap()
			p, err := Open(context.Background(), Config{Log: log, Issuers: []CRLSigner{ca}, BaseURL: testBase, Now: clock.Now})
			if err != nil {
				b.Fatal(err)
			}
			held := heap() - empty
			serial := int64(0)
			for b.Loop() {
				serial++
				log.revoke(b, ca.ID(), serialOfInt(b, serial), certs.KeyCompromise, clock.Now(), clock.Now().Add(time.Hour))
				if err := p.publish(context.Background(), p.byID[ca.ID()], false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(held, "MB-held")
			b.ReportMetric(float64(p.authorities[0].current().size)/(1<<20), "MB-crl")
			runtime.KeepAlive(p)
		})
	}
}

// BenchmarkShardAfterRevocation is a shard of a million certificates (and its delta, with as many: all were
// revoked since its base) after one more revocation, of a certificate that was good or on hold.
func BenchmarkShardAfterRevocation(b *testing.B) {
	ca := newTestCA(b, "Example", testStart)
	log, clock := newMemoryLog(), newTestClock()
	if _, err := log.AppendPublished(context.Background(), ca.ID(), testStart); err != nil {
		b.Fatal(err)
	}
	million(b, log, ca.ID(), 1_000_000)
	var held []certs.Serial
	for i := range log.entries {
		log.entries[i].Sequence = uint64(i) + 1
		if i%10 == 1 {
			log.entries[i].Kind = Held
			held = append(held, log.entries[i].Serial)
		}
	}
	p, err := Open(context.Background(), Config{Log: log, Issuers: []CRLSigner{ca}, BaseURL: testBase, Shards: 64, Now: clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	good := int64(0)
	for _, of := range []struct {
		name   string
		serial func() certs.Serial
	}{
		{"good", func() certs.Serial { good++; return serialOfInt(b, good) }},
		{"held", func() certs.Serial { last := held[len(held)-1]; held = held[:len(held)-1]; return last }},
	} {
		b.Run(of.name, func(b *testing.B) {
			for b.Loop() {
				clock.advance(time.Second)
				log.revoke(b, ca.ID(), of.serial(), certs.KeyCompromise, clock.Now(), clock.Now().Add(time.Hour))
				if err := p.Sync(context.Background()); err != nil {
					b.Fatal(err)
				}
				if err := p.publishAhead(p.byID[ca.ID()]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCRLRenewal encodes everything anew, as each Interval does.
func BenchmarkCRLRenewal(b *testing.B) {
	ca := newTestCA(b, "Example", testStart)
	log := newMemoryLog()
	million(b, log, ca.ID(), 1_000_000)
	p, err := Open(context.Background(), Config{Log: log, Issuers: []CRLSigner{ca}, BaseURL: testBase, Now: newTestClock().Now})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := p.publish(context.Background(), p.byID[ca.ID()], true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOCSP(b *testing.B) {
	bench := newBench(b, nil)
	const n = 100_000
	var plain, nonce [][]byte
	for i := range int64(n) {
		serial := serialOfInt(b, i)
		bench.log.issue(bench.ca.ID(), serial)
		id := bench.certID(b, crypto.SHA1, serial)
		plain = append(plain, marshal(b, nil, id))
		nonce = append(nonce, marshal(b, bytes.Repeat([]byte{7}, 16), id))
	}
	run := func(requests [][]byte) func(*testing.B) {
		return func(b *testing.B) {
			var ctx fasthttp.RequestCtx
			ctx.Request.Header.SetMethod("POST")
			ctx.Request.Header.SetRequestURI("/ocsp")
			ctx.Request.Header.SetContentType(typeRequest)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				ctx.Response.Reset()
				ctx.Request.SetBodyRaw(requests[i%len(requests)])
				bench.ServeFastHTTP(&ctx)
				i++
			}
		}
	}
	get := func(b *testing.B) {
		paths := make([]string, 1000)
		for i := range paths {
			paths[i] = "/ocsp/" + base64.StdEncoding.EncodeToString(plain[i])
		}
		var ctx fasthttp.RequestCtx
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			ctx.Response.Reset()
			ctx.Request.Header.SetRequestURI(paths[i%len(paths)])
			bench.ServeFastHTTP(&ctx)
			i++
		}
	}
	few := plain[:1000]
	for _, der := range few {
		bench.ask(der)
	}
	b.Run("cached", run(few))
	b.Run("cached, GET", get)
	b.Run("nonce", run(nonce))
	before := heap()
	for _, der := range plain {
		bench.ask(der)
	}
	perResponse := (heap() - before) * (1 << 20) / n
	b.Run("cached of 100000", func(b *testing.B) {
		run(plain)(b)
		b.ReportMetric(perResponse, "B/response")
	})
}
