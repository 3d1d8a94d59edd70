package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/handfast/handfast/agent"
	"github.com/handfast/handfast/agent/statusapi"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/internal/logtest"
)

func TestStatusScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/status",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command sleeps for a second under the race detector
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// answer VAR FILE sets VAR to an address where FILE is an agent's status. ADDRESS in the script's .txt files becomes it.
			"answer": func(ts *testscript.TestScript, _ bool, args []string) {
				body := ts.ReadFile(args[1])
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/status" {
						io.WriteString(w, body)
					}
				}))
				ts.Defer(server.Close)
				address := server.Listener.Addr().String()
				ts.Setenv(args[0], address)
				for _, name := range []string{"ready.txt", "wrong.txt"} {
					text := regexp.MustCompile(`ADDRESS|127\.0\.0\.1:\d+, version`).ReplaceAllStringFunc(ts.ReadFile(name), func(old string) string {
						return address + strings.TrimPrefix(old, strings.Split(old, ",")[0])
					})
					ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
				}
			},
			// config FILE ADDRESS writes an agent's settings.
			"config": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("in_memory: true\nstatus:\n  listen: "+args[1]+"\n"), 0o600))
			},
			// closed VAR sets VAR to an address where nobody listens.
			"closed": func(ts *testscript.TestScript, _ bool, args []string) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				ts.Setenv(args[0], listener.Addr().String())
				ts.Check(listener.Close())
			},
		},
	})
}

// The real agent is asked: one that waits for a token says so, and what to do.
func TestStatusOfARunningAgent(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var stderr logtest.Buffer
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"run", "--in-memory", "--token-file", "-", "--status", "127.0.0.1:0", "--inbound", "127.0.0.1:0=127.0.0.1:1"},
			strings.NewReader("\n"), io.Discard, &stderr)
	}()
	log := stderr.WaitFor(t, "waiting for an enrolment token")
	address := regexp.MustCompile(`msg="status is served" address=(\S+)`).FindStringSubmatch(log)
	if address == nil {
		t.Fatalf("no status address in the log:\n%s", log)
	}
	var out strings.Builder
	err := run(t.Context(), []string{"status", "--status", address[1]}, strings.NewReader(""), &out, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "not ready: no certificate yet") {
		t.Errorf("err = %v", err)
	}
	for _, want := range []string{"NOT READY", "inbound 127.0.0.1:", "not enrolled", "handfast token NAME"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, out.String())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTroubles(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	id, err := certs.ParseID("spiffe://test.example/web")
	if err != nil {
		t.Fatal(err)
	}
	well := func() *statusapi.Page {
		return &statusapi.Page{Status: agent.Status{
			Ready: true, ID: id, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), GraceEnds: now.Add(2 * time.Hour),
			NextRenewal: now.Add(time.Minute), Saved: true, PolicyKnown: true, OwnClock: now,
			Feed:   &agent.FeedStatus{Mode: "stream", SignedAt: now.Add(-time.Second), Until: now.Add(time.Hour)},
			Staple: &agent.StapleStatus{Stapled: true, NextUpdate: now.Add(time.Hour)},
		}}
	}
	tests := []struct {
		name     string
		change   func(*statusapi.Page)
		what, do string // in the first trouble; "" is none
	}{
		{"all is well", func(*statusapi.Page) {}, "", ""},
		{"not enrolled", func(p *statusapi.Page) { *p = statusapi.Page{Status: agent.Status{OwnClock: now}} }, "not enrolled", "handfast token NAME"},
		{"expired", func(p *statusapi.Page) { p.NotAfter = now.Add(-time.Second) }, "has expired", "recovers by itself until 2026-01-02T05:04:05Z"},
		{"past its grace", func(p *statusapi.Page) { p.NotAfter, p.GraceEnds = now.Add(-time.Hour), now.Add(-time.Second) }, "so has the time", "handfast token NAME"},
		{"not valid yet", func(p *statusapi.Page) { p.NotBefore = now.Add(time.Second) }, "not valid yet", "clock"},
		{"overdue", func(p *statusapi.Page) {
			p.NextRenewal, p.LastAttempt = now.Add(-2*time.Minute), &agent.Attempt{Error: "no route to host"}
		}, "overdue since 2m00s: no route to host", "/readyz"},
		{"not saved", func(p *statusapi.Page) { p.Saved = false }, "not saved", "make room"},
		{"no policy", func(p *statusapi.Page) { p.PolicyKnown = false }, "policy and revocation are unknown", "/readyz"},
		{"no feed yet", func(p *statusapi.Page) { p.Feed, p.Ready = nil, false }, "until the CA's feed has come", "/readyz"},
		{"a CA without a feed", func(p *statusapi.Page) { p.Feed = nil }, "", ""},
		{"a silent feed", func(p *statusapi.Page) { p.Feed.SignedAt = now.Add(-2 * time.Minute) }, "silent for 2m00s: every peer is refused in 1h00m", "/readyz"},
		{"no fresh staple", func(p *statusapi.Page) {
			p.Staple.NextUpdate, p.Staple.Problem, p.Staple.Responder = now.Add(time.Minute), "503", "http://ca/ocsp"
		}, "no fresh OCSP response to staple: 503", "reaches http://ca/ocsp"},
		{"a failed fetch with time to try again", func(p *statusapi.Page) { p.Staple.Problem = "503" }, "", ""},
		{"clocks differ", func(p *statusapi.Page) { ca := now.Add(-2 * time.Minute); p.CAClock = &ca }, "differ by 2m00s", "third one"},
		{"a failure long ago", func(p *statusapi.Page) { p.LastError = &agent.Failure{At: now.Add(-time.Hour), Error: "x"} }, "", ""},
		{"a failure just now", func(p *statusapi.Page) {
			p.LastError = &agent.Failure{During: "save", At: now.Add(-time.Minute), Error: "full"}
		}, "1m00s ago (save): full", "log"},
		{"not ready for another reason", func(p *statusapi.Page) { p.Ready, p.Problem = false, "something else" }, "something else", "log"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page := well()
			tt.change(page)
			got := troubles(page)
			if tt.what == "" {
				if len(got) > 0 {
					t.Errorf("%+v", got)
				}
				return
			}
			if len(got) == 0 || !strings.Contains(got[0].what, tt.what) || !strings.Contains(got[0].do, tt.do) {
				t.Errorf("%+v; want %q and %q first", got, tt.what, tt.do)
			}
		})
	}
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", -90 * time.Second: "1m30s", 2*time.Hour + 5*time.Minute: "2h05m", 49 * time.Hour: "2d01h",
	} {
		if got := brief(d); got != want {
			t.Errorf("%v: %s; want %s", d, got, want)
		}
	}
}
