package certdir

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestReloadCommandRunsAfterEachChangeAndOnlyThen(t *testing.T) {
	w := newWorld(t)
	t.Setenv("HANDFAST_TOKEN", "secret")
	record := filepath.Join(t.TempDir(), "record")
	cfg := w.config()
	script := filepath.Join(t.TempDir(), "hook")
	os.WriteFile(script, []byte("#!/bin/sh\nprintf 'arg=%s token=%s dir=%s\\n' \"$1\" \"$HANDFAST_TOKEN\" \"$HANDFAST_FILES\" >> "+record+"\necho told\n"), 0o700)
	cfg.Reload = Hook{Command: []string{script, "with space; $HOME"}}
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	start(t, cfg)
	runs := func() int { data, _ := os.ReadFile(record); return bytes.Count(data, []byte("\n")) }
	eventually(t, "first run", func() bool { return runs() == 1 })
	same, _ := w.source.Current()
	w.source.Set(same) // another publication of the same state
	w.rotate()
	eventually(t, "second run", func() bool { return runs() == 2 })
	data, _ := os.ReadFile(record)
	if want := fmt.Sprintf("arg=with space; $HOME token= dir=%s\n", w.dir); string(data) != want+want {
		t.Errorf("the hook saw %q; want %q twice: no shell, no token", data, want)
	}
	eventually(t, "output in the log", func() bool { return strings.Contains(w.log.String(), "told") })
	eventually(t, "two reloads in the metric", func() bool { return count(t, registry, "handfast_certdir_reloads_total", "ok") == 2 })
}

func TestFailingReloadIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	flag := filepath.Join(t.TempDir(), "flag")
	cfg := w.config()
	cfg.Reload = Hook{Command: []string{"/bin/sh", "-c", "test -e " + flag + " || { echo no flag >&2; exit 3; }"}}
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	start(t, cfg)
	eventually(t, "failure in log and metric", func() bool {
		return strings.Contains(w.log.String(), "no flag") && count(t, registry, "handfast_certdir_reloads_total", "failed") > 0
	})
	if !w.isCurrent() {
		t.Error("the files are not there because the hook failed")
	}
	os.WriteFile(flag, nil, 0o600)
	eventually(t, "success without another change", func() bool {
		return count(t, registry, "handfast_certdir_reloads_total", "ok") == 1
	})
}

func TestHangingReloadIsKilled(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Reload = Hook{Command: []string{"/bin/sleep", "600"}, Timeout: 20 * time.Millisecond}
	start(t, cfg)
	eventually(t, "timeout in the log", func() bool { return strings.Contains(w.log.String(), "did not end within 20ms") })
}

func TestSignalToPIDFile(t *testing.T) {
	w := newWorld(t)
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGUSR2)
	defer signal.Stop(got)
	pid := filepath.Join(t.TempDir(), "pid")
	os.WriteFile(pid, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600)
	cfg := w.config()
	cfg.Reload = Hook{PIDFile: pid, Signal: "USR2"}
	start(t, cfg)
	select {
	case <-got:
	case <-time.After(time.Minute):
		t.Fatal("no signal came")
	}
}

func TestPIDFilesThatWouldHitOthersAreRefused(t *testing.T) {
	for _, content := range []string{"", "0", "1", "-1", "-4", "abc", "99999999999999999999", strings.Repeat("1", 100)} {
		path := filepath.Join(t.TempDir(), "pid")
		os.WriteFile(path, []byte(content), 0o600)
		if err := signalPID(path, 0); err == nil {
			t.Errorf("%q was taken", content)
		}
	}
	if err := signalPID("/nonexistent", 0); err == nil {
		t.Error("a missing file was taken")
	}
}

func TestHookChecks(t *testing.T) {
	for _, hook := range []Hook{
		{Command: []string{"a"}, PIDFile: "b"}, {Command: []string{""}}, {PIDFile: "a", Signal: "KILL"}, {Timeout: -1},
	} {
		if err := hook.check(); err == nil {
			t.Errorf("%+v was taken", hook)
		}
	}
}

func count(t *testing.T, registry *prometheus.Registry, name, result string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name && metric.GetLabel()[0].GetValue() == result {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}
