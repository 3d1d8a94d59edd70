package server

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/handfast/handfast/internal/memorynet"
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
		memory := memorynet.Listen()
		f.connect = func(ctx context.Context) (net.Conn, error) { return memory.Dial(ctx, "", "") }
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

// patient are limits that no busy machine comes to.
func patient() Limits {
	return Limits{ReadHeader: time.Minute, Read: time.Minute, Write: time.Minute, Shutdown: time.Minute, Queue: time.Minute}
}
