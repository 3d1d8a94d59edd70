//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/internal/harness"
)

// Invariant 1, seen from outside: between the request's arrival and the answer that
// carries the certificate the ledger's log is forced to disk.
func TestLedgerIsSyncedBeforeTheAnswerLeaves(t *testing.T) {
	t.Parallel()
	need(t, "strace")
	ctx := within(t)
	ca := startCA(ctx, t)
	operator := client(t, ca.Client)
	if _, err := operator.PutService(ctx, &api.Service{Name: "web"}, 0); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	tracer, err := harness.Start("strace", nil, "strace", "-f", "-yy", "-s", "0", "-e", "trace=fsync,fdatasync,read,write,pwrite64", "-o", trace, "-p", fmt.Sprint(ca.Process.PID()))
	if err != nil {
		t.Fatal(err)
	}
	awaitTraced(t, tracer, ca.Process.PID())
	issued, err := operator.Issue(ctx, &api.IssueRequest{Service: "web", CSR: newCSR(t)}, "")
	if err != nil {
		t.Fatal(err)
	}
	// The answer is here, but strace, which is busy with each call, may not have written it down.
	eventually(ctx, t, func() error {
		content, err := os.ReadFile(trace)
		if err != nil {
			return err
		}
		answers, early := answersIn(string(content), len(issued.Chain[0]))
		if answers == 0 {
			return fmt.Errorf("the trace shows no answer that carries a certificate:\n%s", content)
		}
		for _, line := range early {
			t.Errorf("an answer of a certificate's size left before the ledger was synced: %s", line)
		}
		return nil
	})
	_ = tracer.Signal(syscall.SIGINT) // it detaches and ends with the signal as its status
	_ = tracer.Wait()
}

// answersIn counts the answers that are long enough to carry a certificate, and returns those of them that
// began to leave while nothing had been synced since the request before them.
func answersIn(trace string, certificate int) (answers int, early []string) {
	synced, requested := false, false
	begun := map[string]string{}     // by thread: a call that others came in between of, up to there
	beganSynced := map[string]bool{} // and whether the ledger was synced when it began
	for line := range strings.Lines(trace) {
		line = strings.TrimSuffix(line, "\n")
		thread, call, _ := strings.Cut(line, " ")
		call = strings.TrimLeft(call, " ")
		wasSynced := synced
		if start, unfinished := strings.CutSuffix(call, "<unfinished ...>"); unfinished {
			begun[thread], beganSynced[thread] = start, synced
			continue
		}
		if _, rest, resumed := strings.Cut(call, " resumed>"); resumed && strings.HasPrefix(call, "<... ") {
			call, wasSynced = begun[thread]+rest, beganSynced[thread]
		}
		socket := strings.Contains(call, "<TCP")
		switch {
		case socket && strings.HasPrefix(call, "read(") && returned(call) > 300:
			requested, synced = true, false
		case strings.Contains(call, "sync(") && strings.Contains(call, "ledger.db") && strings.HasSuffix(call, "= 0"):
			synced = true
		case socket && strings.HasPrefix(call, "write(") && returned(call) > certificate && requested:
			answers++
			if !wasSynced {
				early = append(early, line)
			}
			requested = false
		}
	}
	return answers, early
}

func returned(call string) int {
	var n int
	if at := strings.LastIndex(call, " = "); at >= 0 {
		_, _ = fmt.Sscan(call[at+3:], &n) // not a number: 0
	}
	return n
}

func TestReadingOfTraces(t *testing.T) {
	t.Parallel()
	const (
		request  = `11 read(7<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 4096) = 500`
		synced   = `12 fdatasync(5</ca/ledger.db-wal>) = 0`
		answer   = `11 write(7<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 900) = 900`
		starts   = `<unfinished ...>`
		request1 = `11 read(7<TCP:[127.0.0.1:1->127.0.0.1:2]>,  ` + starts
		request2 = `11 <... read resumed>""..., 4096) = 500`
		synced1  = `12 fdatasync(5</ca/ledger.db-wal> ` + starts
		synced2  = `12 <... fdatasync resumed>)          = 0`
		answer1  = `11 write(7<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 900 ` + starts
		answer2  = `11 <... write resumed>)        = 900`
	)
	for name, test := range map[string]struct {
		trace          []string
		answers, early int
	}{
		"in order":                    {[]string{request, synced, answer}, 1, 0},
		"not synced":                  {[]string{request, answer, synced}, 1, 1},
		"synced before the request":   {[]string{synced, request, answer}, 1, 1},
		"another file":                {[]string{request, `12 fsync(6</ca/other>) = 0`, answer}, 1, 1},
		"not yet answered":            {[]string{request, synced}, 0, 0},
		"all in pieces":               {[]string{request1, request2, synced1, synced2, answer1, answer2}, 1, 0},
		"answered while it syncs":     {[]string{request, synced1, answer1, synced2, answer2}, 1, 1},
		"synced while it is answered": {[]string{request, answer1, synced, answer2}, 1, 1},
		"a sync that failed":          {[]string{request, synced1, `12 <... fdatasync resumed>) = -1 EIO`, answer}, 1, 1},
	} {
		answers, early := answersIn(strings.Join(test.trace, "\n"), 700)
		if answers != test.answers || len(early) != test.early {
			t.Errorf("%s: %d answers, early are %q; want %d, %d", name, answers, early, test.answers, test.early)
		}
	}
}
