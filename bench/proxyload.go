package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/handfast/handfast/bench/internal/load"
	"github.com/handfast/handfast/bench/internal/proc"
	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/bench/internal/wire"
)

// requests is HTTP on kept connections.
func (b *proxyBench) requests(ctx context.Context) error {
	var who []contestant
	for _, server := range b.servers {
		all := callers(b.clients, func(int) *tls.Config { return b.client })
		who = append(who, contestant{name: server.name, pid: server.pid, do: func(ctx context.Context, client, _ int) error {
			return all[client].call(ctx, http.MethodGet, "https://"+server.address+"/", nil, nil)
		}})
	}
	return b.hold(ctx, contest{name: "proxy-http", unit: "request", units: b.units(8000), memory: true, rates: true}, who...)
}

// Connections and streams of requests on HTTP/2, as many requests at a time as b.clients.
const streamsEach = 8

// streams is requests over HTTP/2 on kept connections, streamsEach at a time on each.
func (b *proxyBench) streams(ctx context.Context) error {
	var who []contestant
	for _, server := range b.servers {
		all := callersHTTP2((b.clients+streamsEach-1)/streamsEach, b.client)
		buffers := make([]bytes.Buffer, b.clients)
		who = append(who, contestant{name: server.name, pid: server.pid, do: func(ctx context.Context, client, _ int) error {
			return get(ctx, all[client/streamsEach], "https://"+server.address+"/", &buffers[client])
		}})
	}
	return b.hold(ctx, contest{name: "proxy-http2", unit: "request", units: b.units(8000), memory: true, rates: true}, who...)
}

// callersHTTP2 makes n clients that each keep one HTTP/2 connection.
func callersHTTP2(n int, config *tls.Config) []*http.Client {
	all := make([]*http.Client, n)
	for i := range all {
		protocols := new(http.Protocols)
		protocols.SetHTTP2(true)
		all[i] = &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), Protocols: protocols, DisableCompression: true}}
	}
	return all
}

// get sends a request over HTTP/2 and reads the answer, whose status must be 200.
func get(ctx context.Context, client *http.Client, url string, buffer *bytes.Buffer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	buffer.Reset()
	if _, err := buffer.ReadFrom(response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
		return fmt.Errorf("%s: %s over %s: %.300s", url, response.Status, response.Proto, buffer.Bytes())
	}
	return nil
}

// dial opens a connection through a proxy, with the client's key shares limited to groups, if any.
func (b *proxyBench) dial(ctx context.Context, address string, groups ...tls.CurveID) (net.Conn, error) {
	config := b.client.Clone()
	config.CurvePreferences = groups
	return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
}

// idleConnections is how many connections do nothing while memory is read.
const idleConnections = 500

// idle measures what connections cost that were used once and then wait.
func (b *proxyBench) idle(ctx context.Context) error {
	var series []report.Series
	for _, server := range b.servers {
		each, err := b.idleOf(ctx, server)
		if err != nil {
			return fmt.Errorf("%s: %w", server.name, err)
		}
		series = append(series, report.NewSeries(server.name, each))
	}
	b.figure("proxy-idle-memory", "proxy: resident memory per idle connection", "KB", series...)
	return nil
}

func (b *proxyBench) idleOf(ctx context.Context, server server) (float64, error) {
	if _, err := load.Closed(ctx, 8, 64, b.shake(server)); err != nil { // what is allocated once is no connection's
		return 0, err
	}
	before, _, err := proc.RSS(server.pid)
	if err != nil {
		return 0, err
	}
	open := make([]net.Conn, idleConnections)
	defer func() {
		for _, conn := range open {
			if conn != nil {
				_ = conn.Close() // it was idle
			}
		}
	}()
	if _, err := load.Closed(ctx, 8, idleConnections, func(ctx context.Context, _, unit int) (err error) {
		if open[unit], err = b.dial(ctx, server.address); err != nil {
			return err
		}
		return wire.Echo(open[unit], make([]byte, 8), []byte("x"))
	}); err != nil {
		return 0, err
	}
	time.Sleep(2 * time.Second) // programs with a garbage collector give memory back late
	after, _, err := proc.RSS(server.pid)
	return float64(after-before) / idleConnections / 1000, err
}

// shake makes a connection, uses it once and ends it.
func (b *proxyBench) shake(server server, groups ...tls.CurveID) load.Do {
	return func(ctx context.Context, _, _ int) error {
		conn, err := b.dial(ctx, server.address, groups...)
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // what was asked came back
		return wire.Echo(conn, make([]byte, 8), []byte("x"))
	}
}

// handshakes is new connections: with X25519, which every peer knows, and for programs in
// Go with the hybrid that they choose by default.
func (b *proxyBench) handshakes(ctx context.Context) error {
	var classical, hybrid []contestant
	for _, server := range b.servers {
		classical = append(classical, contestant{name: server.name, pid: server.pid, do: b.shake(server, tls.X25519)})
		if server.name == report.Ours || server.name == "bare-go" {
			hybrid = append(hybrid, contestant{name: server.name, pid: server.pid, do: b.shake(server, tls.X25519MLKEM768)})
		}
	}
	if err := b.hold(ctx, contest{name: "proxy-handshake", unit: "connection", units: b.units(600), rates: true}, classical...); err != nil {
		return err
	}
	return b.hold(ctx, contest{name: "proxy-handshake-hybrid", unit: "connection", units: b.units(600), rates: true}, hybrid...)
}

// kept makes a contestant whose clients each keep one connection.
func (b *proxyBench) kept(server server, use func(conn net.Conn, buffer []byte) error) contestant {
	conns := make([]net.Conn, b.clients)
	buffers := make([][]byte, b.clients)
	b.cleanup = append(b.cleanup, func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close() // nothing is under way on it
			}
		}
	})
	return contestant{name: server.name, pid: server.pid, do: func(ctx context.Context, client, _ int) (err error) {
		if conns[client] == nil {
			if conns[client], err = b.dial(ctx, server.address); err != nil {
				return err
			}
			buffers[client] = wire.NewBuffer()
		}
		return use(conns[client], buffers[client])
	}}
}

// ping is messages of 100 bytes, there and back.
func (b *proxyBench) ping(ctx context.Context) error {
	message := make([]byte, 91) // with the request's nine
	var who []contestant
	for _, server := range b.servers {
		who = append(who, b.kept(server, func(conn net.Conn, buffer []byte) error { return wire.Echo(conn, buffer, message) }))
	}
	return b.hold(ctx, contest{name: "proxy-ping", unit: "message", units: b.units(10000), rates: true}, who...)
}

// bulkUnit is how many bytes one unit of bulk is.
const bulkUnit = 1_000_000

// bulk is as many bytes as there is processor for, in each direction.
func (b *proxyBench) bulk(ctx context.Context) error {
	for _, direction := range []struct {
		name string
		use  func(conn net.Conn, buffer []byte) error
	}{
		{"down", func(conn net.Conn, buffer []byte) error { return wire.Down(conn, buffer, bulkUnit) }},
		{"up", func(conn net.Conn, buffer []byte) error { return wire.Up(conn, buffer, bulkUnit) }},
	} {
		var who []contestant
		for _, server := range b.servers {
			who = append(who, b.kept(server, direction.use))
		}
		c := contest{
			name: "proxy-bulk-" + direction.name, unit: "MB", units: b.units(500), per: 1000 / 1e6,
			what: "CPU of the proxy per GB", cpuUnit: "s/GB", memory: direction.name == "down",
		}
		if err := b.hold(ctx, c, who...); err != nil {
			return err
		}
	}
	return nil
}
