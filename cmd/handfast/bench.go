package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/handfast/handfast/cmd/handfast/internal/connect"
	"github.com/handfast/handfast/cmd/handfast/internal/fault"
	"github.com/handfast/handfast/cmd/handfast/internal/load"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
)

const (
	// benchService is registered for a measurement and removed after it.
	benchService = "handfast-bench"
	// benchLifetime of the certificates that a measurement leaves behind.
	benchLifetime = 5 * time.Minute

	maxBenchRequests    = 100_000
	maxBenchConcurrency = 256
	progressBarWidth    = 30
	progressBarStep     = 200 * time.Millisecond
)

// benchOptions are the flags of `bench issue` and `bench renew`.
type benchOptions struct {
	requests, concurrency int
	service               string
	yes                   bool
}

// measured is what a measurement ends with. Rates and latencies are as the client sees them.
type measured struct {
	Operation   string  `json:"operation"` // issue or renew
	Service     string  `json:"service"`
	Requests    int     `json:"requests"`
	Concurrency int     `json:"concurrency"`
	Seconds     float64 `json:"seconds"`
	Rate        float64 `json:"certificates_per_second"`
	Latency     struct {
		P50 float64 `json:"p50"`
		P95 float64 `json:"p95"`
		P99 float64 `json:"p99"`
		Max float64 `json:"max"`
	} `json:"latency_ms"`
}

func newBenchCommand(a *app) *cobra.Command {
	return group("bench", "Measure how many certificates the CA issues or renews in a second",
		"  handfast bench issue\n  handfast bench renew --requests 5000 --concurrency 64 -o json",
		newBenchOne(a, "issue", "Measure enrolments, each with a one-time token and a fresh key",
			`Measure enrolments as agents make them: each uses up a one-time token, brings a fresh key, and is
answered when its certificate is durable in the ledger.`, (*bench).issue),
		newBenchOne(a, "renew", "Measure renewals, each with a fresh key, on kept connections",
			`Measure renewals as agents make them: each client has a certificate and a kept connection, and asks
again and again, each time with a fresh key.`, (*bench).renew))
}

func newBenchOne(a *app, name, short, long string, measure func(*bench, context.Context) (load.Result, error)) *cobra.Command {
	var flags connect.Flags
	o := benchOptions{requests: 1000, concurrency: 16}
	cmd := &cobra.Command{
		Use: name, Short: short,
		Long: long + `

The service ` + benchService + ` is registered for it and removed afterwards; no other service is
touched. With --service it is one of your own, which should be there for nothing else: it stays
registered, and it is refused if an agent runs as it. The certificates live for five minutes at
most, belong to keys that nobody keeps, and stay in the ledger until it is purged.

The figures are this host's view of the CA: network and this host's own processor are part of them. It loads
your CA: other clients wait meanwhile.`,
		Example: "  handfast bench " + name + "\n  handfast bench " + name + " --requests 5000 --concurrency 64 --yes -o json",
		Args:    cobra.NoArgs,
	}
	format := outputFlag(cmd, output.Text, output.JSON, output.YAML)
	flags.Add(cmd.Flags())
	cmd.Flags().IntVar(&o.requests, "requests", o.requests, fmt.Sprintf("certificates in all, at most %d", maxBenchRequests))
	cmd.Flags().IntVar(&o.concurrency, "concurrency", o.concurrency, fmt.Sprintf("clients at a time, each with a connection of its own, at most %d", maxBenchConcurrency))
	cmd.Flags().StringVar(&o.service, "service", "", "registered service `NAME` to use instead of a temporary one")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask for confirmation")
	cmd.RunE = a.withCA(&flags, func(ctx context.Context, s *connect.Session, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		b := &bench{app: a, session: s, options: o, timeout: flags.Timeout}
		result, err := b.run(ctx, name, measure)
		if err != nil {
			return err
		}
		return a.show(format.Format, result, func() error { return a.writeMeasured(result) })
	})
	return cmd
}

func (o *benchOptions) check() error {
	if o.requests < 1 || o.requests > maxBenchRequests {
		return fault.Usagef("--requests is from 1 to %d", maxBenchRequests)
	}
	if o.concurrency < 1 || o.concurrency > maxBenchConcurrency {
		return fault.Usagef("--concurrency is from 1 to %d", maxBenchConcurrency)
	}
	o.concurrency = min(o.concurrency, o.requests)
	return nil
}

func newMeasured(operation, service string, o benchOptions, r load.Result) *measured {
	m := &measured{
		Operation: operation, Service: service, Requests: o.requests, Concurrency: o.concurrency,
		Seconds: r.Elapsed.Seconds(), Rate: r.Rate(),
	}
	ms := func(p int) float64 { return float64(r.Percentile(p)) / float64(time.Millisecond) }
	m.Latency.P50, m.Latency.P95, m.Latency.P99, m.Latency.Max = ms(50), ms(95), ms(99), ms(100)
	return m
}

func (a *app) writeMeasured(m *measured) error {
	ms := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) + " ms" }
	var f output.Fields
	f.Add("certificates", fmt.Sprintf("%d in %.1f s, %s at a time", m.Requests, m.Seconds, plural(m.Concurrency, "client")))
	f.Add("rate", fmt.Sprintf("%.0f certs/s", m.Rate))
	f.Add("latency, p50", ms(m.Latency.P50))
	f.Add("latency, p95", ms(m.Latency.P95))
	f.Add("latency, p99", ms(m.Latency.P99))
	f.Add("latency, max", ms(m.Latency.Max))
	return f.Write(a.stdout, "")
}

// progress shows a bar on a terminal, and nothing elsewhere, until stop is called.
func (a *app) progress(what string, done *atomic.Int64, all int) (stop func()) {
	if !output.IsTerminal(a.stderr) {
		return func() {}
	}
	line, quit, ended := a.newProgressLine(), make(chan struct{}), make(chan struct{})
	began := a.now()
	go func() {
		defer close(ended)
		ticker := time.NewTicker(progressBarStep)
		defer ticker.Stop()
		for {
			line.show(progressBar(what, int(done.Load()), all, a.now().Sub(began)))
			select {
			case <-ticker.C:
			case <-quit:
				line.end()
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}

func progressBar(what string, done, all int, elapsed time.Duration) string {
	full := progressBarWidth * done / max(all, 1)
	text := fmt.Sprintf("%s [%s%s] %d/%d", what, strings.Repeat("#", full), strings.Repeat(".", progressBarWidth-full), done, all)
	if elapsed >= time.Second {
		text += fmt.Sprintf("  %.0f/s", float64(done)/elapsed.Seconds())
	}
	return text
}
