//go:build unix

package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// BenchmarkMutualHandshake is a new mutual handshake over loopback, both sides together, by what this
// package makes and by plain crypto/tls with the same keys, chains and versions: cpu-µs/op counts.
func BenchmarkMutualHandshake(b *testing.B) {
	w := newWorld(b, time.Now())
	api, web := w.snapshot(b, "api", "spiffe://prod.test/web"), w.snapshot(b, "web")
	named := func(c *x509.Certificate) { c.DNSNames = []string{"api.test"} }
	api.Certificate = w.issuer.leaf("spiffe://prod.test/api", named)
	pool := x509.NewCertPool()
	pool.AddCert(w.root.cert)
	for _, group := range []struct {
		name   string
		curves []tls.CurveID
	}{{"hybrid", nil}, {"x25519", []tls.CurveID{tls.X25519}}} {
		bareServer := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*api.Certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, CurvePreferences: group.curves}
		bareClient := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*web.Certificate}, RootCAs: pool, ServerName: "api.test", CurvePreferences: group.curves}
		server, client := ServerConfig(fixed{api, nil}, AllowPolicy(fixed{api, nil})), ClientConfig(fixed{web, nil}, api.ID)
		server.CurvePreferences, client.CurvePreferences = group.curves, group.curves
		b.Run(group.name+"/bare", func(b *testing.B) { handshakes(b, bareServer, bareClient) })
		b.Run(group.name+"/certs", func(b *testing.B) { handshakes(b, server, client) })
		b.Run(group.name+"/certs-forgetful", func(b *testing.B) {
			handshakes(b, forgetful(server, fixed{api, nil}), forgetful(client, fixed{web, nil}))
		})
	}
}

// forgetful is config with a full verification of each peer, for what the memory saves.
func forgetful(config *tls.Config, src Source) *tls.Config {
	usage := x509.ExtKeyUsageServerAuth
	if config.ClientAuth != tls.NoClientCert {
		usage = x509.ExtKeyUsageClientAuth
	}
	config = config.Clone()
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := newEndpointFor(src, usage).judge(cs.PeerCertificates, nil)
		return err
	}
	return config
}

func newEndpointFor(src Source, usage x509.ExtKeyUsage) *endpoint {
	e := newEndpoint(src, usage, nil)
	e.authorize = func(Peer) (Cause, error) { return "", nil }
	return e
}

func handshakes(b *testing.B, server, client *tls.Config) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			conn := tls.Server(raw, server)
			if conn.HandshakeContext(context.Background()) == nil {
				conn.Write([]byte{1})
			}
			conn.Close()
		}
	}()
	runtime.GC()
	before := cpuTime(b)
	b.ReportAllocs()
	for b.Loop() {
		raw, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		conn := tls.Client(raw, client)
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// cpuTime is what this process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkJudge is what a handshake's end costs beside crypto/tls: a chain that was seen before, and one that was not.
func BenchmarkJudge(b *testing.B) {
	w := newWorld(b, time.Now())
	api := w.snapshot(b, "api", "spiffe://prod.test/web")
	api.Revocation = api.Revocation.WithFeed(w.feedView(b, nil), 0)
	chain := chainOf(b, w.issuer.leaf("spiffe://prod.test/web"))
	e := newEndpoint(fixed{api, nil}, x509.ExtKeyUsageClientAuth, nil)
	e.authorize = AllowPolicy(fixed{api, nil}).decide
	for _, known := range []bool{true, false} {
		b.Run(map[bool]string{true: "known", false: "new"}[known], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !known {
					e.memory.paths.turnTo(new(Snapshot))
				}
				if _, err := e.judge(chain, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
