package agent

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

// config makes an agent of ca's with a token, in memory.
func (ca *fakeCA) config(log *logtest.Buffer) Config {
	return Config{
		Token: TokenString(ca.token("first")), Connect: ca.connect, Jitter: func() float64 { return 0.5 },
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// start runs an agent until stop is called or the test ends.
func start(t *testing.T, cfg Config) (*Agent, func()) {
	t.Helper()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a, launch(t, a)
}

// launch is start for an agent that is made already.
func launch(t *testing.T, a *Agent) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func mustCurrent(t *testing.T, a *Agent) *certs.Snapshot {
	t.Helper()
	snap, err := a.Current()
	if err != nil {
		t.Fatal(err)
	}
	return snap
}
