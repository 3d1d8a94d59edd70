// Command bench measures Handfast beside other programs that do the same work, in one run
// and in turns, so that the ratio means something on a machine that is shared.
//
//	go run . [flags] [issue|renew|ocsp|crl|proxy|agent|limit|feed|fleet|endurance|profile]...
//
// Without names it runs all but fleet, endurance and profile. A part of proxy can be named too: proxy-http, proxy-http2,
// proxy-idle, proxy-ping, proxy-handshake, proxy-bulk. See docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/handfast/handfast/bench/internal/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// benchmark is what `make bench BENCH=` takes.
type benchmark struct {
	name  string
	run   func(*session, context.Context) error
	alone bool   // runs only when it is named
	of    string // the benchmark that this one is a part of, or ""
}

// benchmarks in their order. fleet takes half an hour, endurance a quarter of one, and profile measures nothing.
var benchmarks = []benchmark{
	{name: "limit", run: (*session).limit},
	{name: "issue", run: (*session).issue},
	{name: "renew", run: (*session).renew},
	{name: "ocsp", run: (*session).ocsp},
	{name: "crl", run: (*session).crl},
	{name: "proxy", run: (*session).proxy},
	{name: "agent", run: (*session).agent},
	{name: "feed", run: (*session).feed},
	{name: "fleet", run: (*session).fleet, alone: true},
	{name: "endurance", run: (*session).endurance, alone: true},
	{name: "profile", run: (*session).profile, alone: true},
	{name: "proxy-http", run: proxyHTTP((*proxyBench).requests), alone: true, of: "proxy"},
	{name: "proxy-http2", run: proxyHTTP((*proxyBench).streams), alone: true, of: "proxy"},
	{name: "proxy-idle", run: proxyTCP((*proxyBench).idle), alone: true, of: "proxy"},
	{name: "proxy-ping", run: proxyTCP((*proxyBench).ping), alone: true, of: "proxy"},
	{name: "proxy-handshake", run: proxyTCP((*proxyBench).handshakes), alone: true, of: "proxy"},
	{name: "proxy-bulk", run: proxyTCP((*proxyBench).bulk), alone: true, of: "proxy"},
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	s := &session{log: stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.rounds, "rounds", 5, "how often each contestant has its turn")
	flags.IntVar(&s.clients, "clients", 64, "clients at a time, each with a connection of its own")
	flags.Float64Var(&s.scale, "scale", 1, "times the usual number of requests a round")
	flags.StringVar(&s.repo, "repo", "..", "the repository's root")
	flags.StringVar(&s.base, "base", "", "a directory with another handfast-ca and handfast-agent, of before a change, to be measured beside ours in issue, renew and proxy")
	peers := flags.String("peers", "", "the peers that proxy measures beside ours, such as bare-go,haproxy; empty: all that are installed")
	keep := flags.Bool("keep", false, "write bench/results.json and docs/performance")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(flags.Args())
	if err != nil {
		return err
	}
	if *peers != "" {
		s.peers = strings.Split(*peers, ",")
	}
	if partial := slices.ContainsFunc(chosen, func(b benchmark) bool { return b.of != "" }); *keep && (partial || s.peers != nil) {
		return errors.New("a part of a benchmark is not kept: it would take the place of the whole")
	}
	if *keep {
		if err := s.checkPlaces(chosen); err != nil {
			return err
		}
	}
	if s.rounds < 1 || s.clients < 1 || s.scale <= 0 {
		return errors.New("rounds, clients and scale must be positive")
	}
	if s.dir, err = os.MkdirTemp("", "handfast-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if err := s.build(ctx); err != nil {
		return err
	}
	for _, b := range chosen {
		if err := s.measure(ctx, b); err != nil { // what was measured before is worth printing, not keeping
			return errors.Join(fmt.Errorf("%s: %w", b.name, err), s.finish(stdout, false))
		}
	}
	return s.finish(stdout, *keep)
}

// choose returns the benchmarks that names name; none is all but those that run alone.
func choose(names []string) ([]benchmark, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(benchmarks), func(b benchmark) bool { return b.alone }), nil
	}
	var chosen []benchmark
	for _, name := range names {
		i := slices.IndexFunc(benchmarks, func(b benchmark) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("benchmark %q is unknown", name)
		}
		chosen = append(chosen, benchmarks[i])
	}
	return chosen, nil
}

// finish prints what was measured and, if it is to be kept, writes it down.
func (s *session) finish(stdout io.Writer, keep bool) error {
	if len(s.figures) == 0 {
		return nil
	}
	if err := report.Table(stdout, s.figures); err != nil {
		return err
	}
	for _, f := range s.figures {
		for _, line := range f.Lines() {
			if _, err := fmt.Fprintln(stdout, line); err != nil {
				return err
			}
		}
	}
	if !keep {
		return nil
	}
	return s.write()
}

func (s *session) write() error {
	path := filepath.Join(s.repo, "bench", "results.json")
	results, err := report.Load(path)
	if err != nil {
		return err
	}
	results.Machine = machine()
	results.Replace(s.figures)
	if err := results.Save(path); err != nil {
		return err
	}
	pictures := filepath.Join(s.repo, "docs", "performance")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	for _, f := range report.Pictures(s.figures) {
		if err := os.WriteFile(filepath.Join(pictures, f.Name+".svg"), []byte(report.SVG(f)), 0o644); err != nil {
			return err
		}
	}
	for _, p := range s.pictures {
		if err := os.WriteFile(filepath.Join(pictures, p.name+".svg"), []byte(p.svg), 0o644); err != nil {
			return err
		}
	}
	return s.document(results)
}

// checkPlaces fails, before minutes of work, where the document has no place for figures of chosen.
func (s *session) checkPlaces(chosen []benchmark) error {
	path := filepath.Join(s.repo, "docs", "performance.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, b := range chosen {
		if b.name == "profile" { // it leaves no figures
			continue
		}
		if _, err := report.Insert(text, b.name, ""); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// document brings the tables of docs/performance.md up to date.
func (s *session) document(results report.Results) error {
	path := filepath.Join(s.repo, "docs", "performance.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	tables := make(map[string][]report.Figure)
	for _, f := range results.Figures {
		tables[f.Bench] = append(tables[f.Bench], f)
	}
	for name, figures := range tables {
		if text, err = report.Insert(text, name, report.Markdown(figures)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if text, err = report.Insert(text, "machine", results.Machine+"\n"); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}

// machine describes where the figures come from, as far as the system says.
func machine() string {
	model := "unknown processor"
	info, _ := os.ReadFile("/proc/cpuinfo") // elsewhere it is unknown
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	load := "unknown"
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Join(strings.Fields(string(data))[:3], " ")
	}
	return fmt.Sprintf("%s, %d cores, %s/%s, %s; load average at the end of the run %s.", model, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), load)
}
