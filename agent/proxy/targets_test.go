package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestTargetsAreReusedAndLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var far []net.Conn // the service's ends
		pool := &targets{dial: func(context.Context) (net.Conn, error) {
			near, end := net.Pipe()
			far = append(far, end)
			return near, nil
		}}
		take := func() *target {
			t.Helper()
			conn, _, err := pool.get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		first, second := take(), take()
		pool.put(first)
		time.Sleep(targetIdle / 2)
		pool.put(second)
		if got := take(); got != second {
			t.Error("not the one that was used last")
		}
		pool.put(second)
		time.Sleep(targetIdle/2 + time.Second)
		if _, err := far[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("what nobody used for %v: %v; want its end", targetIdle, err)
		}
		if got, used, _ := pool.get(t.Context()); got != second || !used {
			t.Error("the other one was closed too early")
		}
		pool.put(second)
		time.Sleep(2 * targetIdle)
		pool.mu.Lock()
		if len(pool.idle) > 0 || pool.sweep != nil {
			t.Errorf("%d connections are kept for ever", len(pool.idle))
		}
		pool.mu.Unlock()
		third := take()
		pool.close()
		pool.put(third)
		if len(pool.idle) > 0 {
			t.Error("a closed pool takes connections")
		}
	})
}
