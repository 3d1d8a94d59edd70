package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a server's API in a synctest bubble, on connections in memory: a limit in time is
// kept to there without a handshake, which takes as long as the machine is busy, coming too late for it.
func inBubble(t *testing.T, modify func(*Config), body func(t *testing.T, f *follows)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t)
		var s *Server
		s, f.stack = newServer(t, f.config(modify))
		s.goodbye = goodbye
		if err := s.identity.rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		memory := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		f.connect = memory.dial
		api := s.servers(&Listeners{API: memory})[0]
		var group sync.WaitGroup
		group.Go(s.chorus.run)
		group.Go(func() {
			if err := api.serve(); err != nil {
				t.Error(err)
			}
		})
		f.stop = s.beginShutdown
		defer func() {
			s.beginShutdown()
			if err := s.shutdown([]door{api}); err != nil {
				t.Error(err)
			}
			group.Wait()
		}()
		body(t, f)
	})
}

// memoryListener is a listener whose connections are pipes: they hold nothing, so that a peer
// which does not read holds up who writes at once.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error { l.once.Do(func() { close(l.closed) }); return nil }

func (l *memoryListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, errors.New("nobody listens")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// patient are limits that no busy machine comes to.
func patient() Limits {
	return Limits{ReadHeader: time.Minute, Read: time.Minute, Write: time.Minute, Shutdown: time.Minute, Queue: time.Minute}
}
