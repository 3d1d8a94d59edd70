package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/handfast/handfast/bench/internal/proc"
	"github.com/handfast/handfast/bench/internal/report"
	"github.com/handfast/handfast/internal/harness"
)

const (
	startRounds = 7
	startPoll   = 2 * time.Millisecond
)

// starts measures, in turns, how long a CA takes from its exec until it says that it is ready:
// on the ledger of full and on an empty one.
func (s *session) starts(ctx context.Context, full *authority, live int) error {
	empty, err := s.initCA(ctx, s.bin(), "empty")
	if err != nil {
		return err
	}
	empty.api.Close()
	both := []*authority{full, empty}
	took, used := make([][]float64, 2), make([][]float64, 2)
	for round := range startRounds {
		for i := range both {
			k := (round + i) % 2
			wall, cpu, err := startOnce(ctx, both[k])
			if err != nil {
				return fmt.Errorf("start of %s: %w", both[k].name, err)
			}
			took[k], used[k] = append(took[k], micro(wall)/1000), append(used[k], micro(cpu)/1000)
		}
	}
	what := fmt.Sprintf("with %d live certificates in the ledger", live)
	s.figure("endurance-start", "endurance: from exec to ready, "+what, "ms",
		report.NewSeries(report.Ours, took[0]...), report.NewSeries("empty ledger", took[1]...))
	s.figure("endurance-start-used", "endurance: CPU from exec to ready, "+what, "ms",
		report.NewSeries(report.Ours, used[0]...), report.NewSeries("empty ledger", used[1]...))
	return nil
}

// startOnce starts a CA, asks until it is ready, and ends it.
func startOnce(ctx context.Context, a *authority) (wall, cpu time.Duration, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	began := time.Now()
	process, err := harness.Start("handfast-ca", nil, filepath.Join(a.Bin, "handfast-ca"), "serve", "--dir", a.Dir)
	if err != nil {
		return 0, 0, err
	}
	for !ready(ctx, client, "http://"+a.Public+"/readyz") {
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-process.Done():
			return 0, 0, fmt.Errorf("it ended: %w; its output:\n%s", process.Wait(), process.Log())
		case <-time.After(startPoll):
		}
	}
	wall = time.Since(began)
	if cpu, err = proc.CPU(process.PID()); err != nil {
		return 0, 0, err
	}
	return wall, cpu, process.Stop()
}

// ready reports whether url answers with 200.
func ready(ctx context.Context, client *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil && response.StatusCode == http.StatusOK
}
