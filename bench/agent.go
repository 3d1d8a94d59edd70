package main

import (
	"context"
	"os"
	"time"

	"github.com/handfast/handfast/bench/internal/proc"
	"github.com/handfast/handfast/bench/internal/report"
)

// idleMinute is for how long an agent is watched that has nothing to do.
const idleMinute = time.Minute

// agent measures what an agent costs that stands beside a service and waits: its file, its memory
// with a proxy running, and its processor time in a minute, in which it hears of the CA
// every five seconds.
func (s *session) agent(ctx context.Context) error {
	file, err := os.Stat(s.program("handfast-agent"))
	if err != nil {
		return err
	}
	s.figure("agent-size", "agent: the stripped program", "MB", report.NewSeries(report.Ours, float64(file.Size())/1e6))
	b, err := s.newProxyBench(ctx)
	if err != nil {
		return err
	}
	_, backend, err := s.bare(ctx, "http", "", "")
	if err != nil {
		return err
	}
	process, _, err := b.startAgent(ctx, b.ca.Bin, "http", backend)
	if err != nil {
		return err
	}
	before, err := proc.CPU(process.PID())
	if err != nil {
		return err
	}
	s.printf("  watching it for %v", idleMinute)
	select {
	case <-time.After(idleMinute):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := proc.CPU(process.PID())
	if err != nil {
		return err
	}
	now, _, err := proc.RSS(process.PID())
	if err != nil {
		return err
	}
	s.figure("agent-memory", "agent: resident memory, idle, with a proxy", "MB", report.NewSeries(report.Ours, float64(now)/1e6))
	s.figure("agent-cpu", "agent: processor time in an idle minute", "ms", report.NewSeries(report.Ours, micro(after-before)/1000))
	return nil
}
