package memorynet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/handfast/handfast/internal/memorynet"
)

func TestWhatIsDialledIsAccepted(t *testing.T) {
	listener := memorynet.Listen()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "hello")
		conn.Close()
	}()
	conn, err := listener.Dial(t.Context(), "tcp", "anywhere:1")
	if err != nil {
		t.Fatal(err)
	}
	if heard, err := io.ReadAll(conn); err != nil || string(heard) != "hello" {
		t.Errorf("heard %q, %v", heard, err)
	}
}

func TestNobodyIsReachedAfterTheEnd(t *testing.T) {
	listener := memorynet.Listen()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := listener.Dial(ctx, "tcp", "anywhere:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody accepts, and the context has ended: %v", err)
	}
	for range 2 {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := listener.Dial(t.Context(), "tcp", "anywhere:1"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial: %v", err)
	}
}
