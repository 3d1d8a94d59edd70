package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// scarce is a listener of a process that has no descriptor left for some time.
type scarce struct {
	net.Listener
	failures []error
}

func (l *scarce) Accept() (net.Conn, error) {
	if len(l.failures) == 0 {
		conn, _ := net.Pipe()
		return conn, nil
	}
	err := l.failures[0]
	l.failures = l.failures[1:]
	return nil, &net.OpError{Op: "accept", Err: err}
}

func (*scarce) Close() error { return nil }

func TestPublicListenerOutlivesALackOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPublicListener(&scarce{failures: []error{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.EMFILE}}, goodbye)
		begin := time.Now()
		if conn, err := l.Accept(); err != nil || conn == nil {
			t.Errorf("after a lack of descriptors: %v", err)
		}
		if waited := time.Since(begin); waited != (5+10+20+40)*time.Millisecond {
			t.Errorf("waited %v", waited)
		}
		l = newPublicListener(&scarce{failures: []error{syscall.EINVAL}}, goodbye)
		if _, err := l.Accept(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("an error that stays: %v", err)
		}
		l = newPublicListener(&scarce{failures: []error{syscall.EMFILE}}, goodbye)
		l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed while it waits: %v", err)
		}
	})
}

// wayward is a publisher that fails in the ways that a handler can.
type wayward struct {
	fakeRevocations
	entered chan struct{}
	leave   chan struct{}
}

func (w wayward) ServeFastHTTP(ctx *fasthttp.RequestCtx) {
	if strings.HasPrefix(string(ctx.Path()), "/crl/panic") {
		panic("secret of a request")
	}
	if strings.HasPrefix(string(ctx.Path()), "/crl/wait") {
		close(w.entered)
		<-w.leave
	}
	w.fakeRevocations.ServeFastHTTP(ctx)
}

func TestPublicPanicIsAnAnswer(t *testing.T) {
	st := start(t, func(cfg *Config) { cfg.Revocations = wayward{} })
	response, err := http.Get(st.public + "/crl/panic.crl")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), `"internal"`) {
		t.Errorf("status %d, %s, %v", response.StatusCode, body, err)
	}
	id := response.Header.Get("Request-Id")
	if id == "" || !strings.Contains(string(body), id) || !strings.Contains(st.logs.String(), "request_id="+id) {
		t.Errorf("the id %q is not in the answer and the log", id)
	}
	if strings.Contains(st.logs.String(), "secret of") || !strings.Contains(st.logs.String(), "a handler panicked") {
		t.Errorf("log:\n%s", st.logs)
	}
	if got := st.metric("panics_total"); got != 1 {
		t.Errorf("%v panics are counted", got)
	}
}

func TestPublicRequestsAreCountedAndLogged(t *testing.T) {
	st := start(t, nil)
	for _, path := range []string{"/crl/aabb.crl", "/ocsp/MA", "/healthz"} {
		response, err := http.Get(st.public + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	if got := st.metric("requests_total", "public", "200"); got != 3 {
		t.Errorf("%v requests are counted, want 3", got)
	}
	for _, part := range []string{"route=public status=200 ", " remote=127.0.0.1:"} {
		if got := strings.Count(st.logs.String(), part); got != 3 {
			t.Errorf("%q stands %d times in the log, want 3:\n%s", part, got, st.logs)
		}
	}
}

// A client that sends more than is read gets to read why.
func TestPublicAnswerReachesAClientThatStillSends(t *testing.T) {
	st := start(t, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(st.public, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /ocsp HTTP/1.1\r\nHost: ca\r\nContent-Length: %d\r\n\r\n", 900<<10)
	if _, err := io.CopyN(conn, zeros{}, 900<<10); err != nil {
		t.Fatalf("while sending: %v", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("X-Seen") != "/ocsp" || !response.Close {
		t.Errorf("status %d, %v", response.StatusCode, response.Header)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestPublicSlowClientsAreCut(t *testing.T) {
	st := start(t, func(cfg *Config) {
		cfg.Limits.ReadHeader, cfg.Limits.Read, cfg.Limits.Idle = 30*time.Millisecond, 60*time.Millisecond, 90*time.Millisecond
	})
	for _, sent := range []string{"", "GET /he", "GET /healthz HTTP/1.1\r\nHost: ca\r\n\r\n", "POST /ocsp HTTP/1.1\r\nHost: ca\r\nContent-Length: 5\r\n\r\nab", "POST /ocsp HTTP/1.1\r\nHost: ca\r\nContent-Length: 5000\r\n\r\nab"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(st.public, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		// On a busy machine this comes too late, and the end is a reset. That there is one counts.
		io.WriteString(conn, sent)
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q: %v", sent, err)
		}
		conn.Close()
	}
}

func TestPublicShutdownFinishesAndThenCuts(t *testing.T) {
	for _, test := range []struct {
		name   string
		limit  time.Duration
		leaves bool // the request ends in time
	}{{"in time", time.Minute, true}, {"too late", 50 * time.Millisecond, false}} {
		t.Run(test.name, func(t *testing.T) {
			w := wayward{entered: make(chan struct{}), leave: make(chan struct{})}
			s, _ := newServer(t, func(cfg *Config) { cfg.Revocations, cfg.Limits.Shutdown = w, test.limit })
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			public := s.newPublicServer(newPublicListener(inner, goodbye))
			served := make(chan error, 1)
			go func() { served <- public.serve() }()
			answered := make(chan error, 1)
			go func() {
				response, err := http.Get("http://" + inner.Addr().String() + "/crl/wait.crl")
				if err == nil {
					response.Body.Close()
				}
				answered <- err
			}()
			<-w.entered
			if test.leaves {
				time.AfterFunc(10*time.Millisecond, func() { close(w.leave) })
			}
			err = s.shutdown([]door{{name: "public", shutdown: public.shutdown}})
			if (err == nil) != test.leaves {
				t.Errorf("shutdown: %v", err)
			}
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
			if err := <-answered; (err == nil) != test.leaves {
				t.Errorf("the request: %v", err)
			}
			if !test.leaves {
				close(w.leave)
			}
		})
	}
}

// A server that is told to end before it has begun ends as well.
func TestPublicShutdownBeforeServe(t *testing.T) {
	s, _ := newServer(t, nil)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	public := s.newPublicServer(newPublicListener(inner, goodbye))
	if err := public.shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := public.serve(); err != nil {
		t.Error(err)
	}
}
