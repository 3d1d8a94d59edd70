package proxy

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestIdleConnectionsEnd(t *testing.T) {
	w := newWorld(t)
	in := w.serveInbound(t, backend(t, echo), func(cfg *Config) { cfg.Inbound[0].IdleTimeout = 60 * time.Millisecond })
	conn, err := w.dialTLS(t, in.inboundAddr(), w.webSrc)
	if err != nil {
		t.Fatal(err)
	}
	ended(conn)
	waitEvent(t, in, "idle")
}

func TestBusyConnectionsAreNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local, nearLocal := net.Pipe()
		peer, nearPeer := net.Pipe()
		done := make(chan error, 1)
		(&pump{
			local: nearLocal, peer: nearPeer, idle: time.Minute,
			count: func(bool, int) {}, finished: func(err error) { done <- err },
		}).start()
		for i := range 6 { // much longer than the timeout altogether, one way and the other
			from, to := local, peer
			if i%2 == 1 {
				from, to = peer, local
			}
			go from.Write([]byte("x"))
			if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
				t.Fatalf("cut although it was busy: %v", err)
			}
			time.Sleep(50 * time.Second)
		}
		began := time.Now()
		if err := <-done; !errors.Is(err, errIdle) {
			t.Errorf("ended with %v; want the idle timeout", err)
		}
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("cut %v after the last byte; want a minute", waited+50*time.Second)
		}
	})
}
