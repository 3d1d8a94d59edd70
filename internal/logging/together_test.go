package logging_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"

	"github.com/handfast/handfast/internal/logging"
)

// slow is a writer that lets others come while it writes, and counts its calls.
type slow struct {
	entered chan struct{} // one for each call
	proceed chan struct{} // one lets one call end; closed lets all
	busy    sync.Mutex
	calls   int
	out     bytes.Buffer
}

func (s *slow) Write(p []byte) (int, error) {
	if !s.busy.TryLock() {
		return 0, errors.New("two writes at a time")
	}
	defer s.busy.Unlock()
	s.calls++
	s.entered <- struct{}{}
	<-s.proceed
	return s.out.Write(p)
}

func TestLinesComeWholeAndOnce(t *testing.T) {
	const goroutines, each = 16, 50
	w := &slow{entered: make(chan struct{}, goroutines*each), proceed: make(chan struct{})}
	close(w.proceed)
	logger, err := logging.New(w, "info", "text")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range each {
				logger.Info("line", "who", g, "nr", i, "filler", strings.Repeat("x", 37*i))
			}
		})
	}
	all.Wait()
	next := make([]int, goroutines)
	for line := range strings.Lines(w.out.String()) {
		var who, nr int
		_, rest, _ := strings.Cut(line, "msg=line ")
		if _, err := fmt.Sscanf(rest, "who=%d nr=%d filler=", &who, &nr); err != nil || strings.Count(rest, "x") != 37*nr {
			t.Fatalf("line %.120q: %v", line, err)
		}
		if next[who] != nr {
			t.Fatalf("goroutine %d: line %d where %d belongs", who, nr, next[who])
		}
		next[who]++
	}
	for who, n := range next {
		if n != each {
			t.Errorf("goroutine %d: %d lines of %d", who, n, each)
		}
	}
}

// Whoever logs goes on only after its line was written.
func TestLogReturnsAfterTheWrite(t *testing.T) {
	w := &slow{entered: make(chan struct{}, 8), proceed: make(chan struct{})}
	logger, err := logging.New(w, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	first, second := make(chan struct{}), make(chan struct{})
	go func() { logger.Info("one"); close(first) }()
	<-w.entered
	go func() { logger.Info("two"); close(second) }()
	select {
	case <-first:
		t.Error("the first call returned while its line was being written")
	case <-second:
		t.Error("the second call returned while the first line was being written")
	default:
	}
	w.proceed <- struct{}{}
	<-first
	<-w.entered
	select {
	case <-second:
		t.Error("the second call returned before its line was written")
	default:
	}
	w.proceed <- struct{}{}
	<-second
	if lines := strings.Count(w.out.String(), "\n"); lines != 2 || w.calls != 2 {
		t.Errorf("%d lines in %d calls, want 2 in 2:\n%s", lines, w.calls, w.out.String())
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestFailureIsReported(t *testing.T) {
	full := errors.New("no space")
	logger, err := logging.New(failing{full}, "info", "text")
	if err != nil {
		t.Fatal(err)
	}
	record := slog.Record{Level: slog.LevelInfo, Message: "lost"}
	for range 2 {
		if err := logger.Handler().Handle(t.Context(), record); !errors.Is(err, full) {
			t.Errorf("error %v, want %v", err, full)
		}
	}
}

func TestKeepsToSlogsContract(t *testing.T) {
	var out bytes.Buffer
	logger, err := logging.New(&out, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	err = slogtest.TestHandler(logger.Handler(), func() []map[string]any {
		var all []map[string]any
		for line := range bytes.Lines(out.Bytes()) {
			var one map[string]any
			if err := json.Unmarshal(line, &one); err != nil {
				t.Fatal(err)
			}
			all = append(all, one)
		}
		return all
	})
	if err != nil {
		t.Error(err)
	}
}
