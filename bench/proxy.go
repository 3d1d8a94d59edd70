package main

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"

	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/internal/harness"
)

// server is a proxy that runs.
type server struct {
	name    string
	pid     int
	address string
}

// proxyBench is what the comparisons of proxies share.
type proxyBench struct {
	*session
	ca      *authority
	tlsDir  string
	client  *tls.Config
	servers []server
}

// proxyMeasure is one part of the comparison of proxies.
type proxyMeasure = func(*proxyBench, context.Context) error

// proxy compares the agent's inbound proxy with others: requests on kept connections,
// then, without HTTP, idle memory, small messages, new connections and bulk.
func (s *session) proxy(ctx context.Context) error {
	return s.proxies(ctx, []proxyMeasure{(*proxyBench).requests, (*proxyBench).streams},
		[]proxyMeasure{(*proxyBench).idle, (*proxyBench).ping, (*proxyBench).handshakes, (*proxyBench).bulk})
}

// proxyHTTP is a part of proxy with HTTP, to be run alone.
func proxyHTTP(measure proxyMeasure) func(*session, context.Context) error {
	return func(s *session, ctx context.Context) error { return s.proxies(ctx, []proxyMeasure{measure}, nil) }
}

// proxyTCP is a part of proxy without HTTP, to be run alone.
func proxyTCP(measure proxyMeasure) func(*session, context.Context) error {
	return func(s *session, ctx context.Context) error { return s.proxies(ctx, nil, []proxyMeasure{measure}) }
}

// proxies runs the parts that are asked for, on proxies in front of an HTTP server and of a service of bytes.
func (s *session) proxies(ctx context.Context, http, tcp []proxyMeasure) error {
	b, err := s.newProxyBench(ctx)
	if err != nil {
		return err
	}
	for _, run := range []struct {
		mode, service string
		measures      []proxyMeasure
	}{{"http", "http", http}, {"tcp", "stream", tcp}} {
		if len(run.measures) == 0 {
			continue
		}
		_, backend, err := s.bare(ctx, run.service, "", "")
		if err != nil {
			return err
		}
		if err := b.startAll(ctx, run.mode, backend); err != nil {
			return err
		}
		for _, measure := range run.measures {
			if err := measure(b, ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) newProxyBench(ctx context.Context) (*proxyBench, error) {
	b := &proxyBench{session: s, tlsDir: s.path("tls")}
	var err error
	if b.ca, err = s.startCA(ctx); err != nil {
		return nil, err
	}
	own, err := b.ca.enrol(ctx, service, 1)
	if err != nil {
		return nil, err
	}
	if err := writeTLS(b.tlsDir, own[0], b.ca.root); err != nil {
		return nil, err
	}
	callers, err := b.ca.enrol(ctx, "client", 1)
	if err != nil {
		return nil, err
	}
	b.client = b.ca.clientTLS(callers...)
	b.client.ServerName = serviceDNS
	return b, nil
}

// startAll starts every proxy that is there and wanted, in front of backend; mode is http or tcp. The agent of before a
// change is the last one.
func (b *proxyBench) startAll(ctx context.Context, mode, backend string) error {
	b.servers = nil
	type starter struct {
		name, program string // program: what must be installed, or ""
		start         func() (*harness.Process, string, error)
	}
	starters := []starter{
		{report.Ours, "", func() (*harness.Process, string, error) { return b.startAgent(ctx, b.ca.Bin, mode, backend) }},
		{"bare-go", "", func() (*harness.Process, string, error) {
			return b.bare(ctx, map[string]string{"http": "reverse", "tcp": "copy"}[mode], backend, b.tlsDir)
		}},
		{"nginx", "nginx", func() (*harness.Process, string, error) { return b.startNginx(ctx, mode, backend, b.tlsDir) }},
		{"haproxy", "haproxy", func() (*harness.Process, string, error) { return b.startHAProxy(ctx, mode, backend, b.tlsDir) }},
	}
	if mode == "tcp" {
		starters = append(starters, starter{"stunnel", "stunnel4", func() (*harness.Process, string, error) { return b.startStunnel(ctx, backend, b.tlsDir) }})
	}
	for _, s := range starters {
		if s.name != report.Ours && !b.wants(s.name) || s.program != "" && !b.installed(s.program) {
			continue
		}
		if err := b.add(s.name, s.start); err != nil {
			return err
		}
	}
	if b.base == "" {
		return nil
	}
	return b.add("before", func() (*harness.Process, string, error) { return b.startAgent(ctx, b.base, mode, backend) })
}

func (b *proxyBench) add(name string, start func() (*harness.Process, string, error)) error {
	process, address, err := start()
	if err == nil {
		b.servers = append(b.servers, server{name, process.PID(), address})
	}
	return err
}

// startAgent starts the agent whose program is in bin, with a state of its own.
func (b *proxyBench) startAgent(ctx context.Context, bin, mode, backend string) (*harness.Process, string, error) {
	address, err := harness.FreeAddress()
	if err != nil {
		return nil, "", err
	}
	token, _, err := b.ca.tokens.Mint(service, 0)
	if err != nil {
		return nil, "", err
	}
	if err := os.MkdirAll(b.path(), 0o700); err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp(b.path(), "agent-"+mode)
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return nil, "", err
	}
	ca := *b.ca.CA
	ca.Bin = bin
	process, err := ca.StartAgent(ctx, service, dir, "--token-file", file, "--inbound", address+"="+backend+",mode="+mode)
	if process != nil {
		b.started = append(b.started, process)
	}
	return process, address, err
}
