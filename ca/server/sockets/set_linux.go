package sockets

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix" // epoll and eventfd with their flags, which package syscall lacks
)

const (
	// batch is how many events are taken at once.
	batch = 256
	// pause is how long a Set waits after each batch, so that what comes in quick succession is taken together: to be
	// woken costs more than what there is to do. Nothing waits longer than that.
	pause = 5 * time.Millisecond
)

// Set watches connections. The zero value is ready. Its methods are safe for concurrent use.
type Set struct {
	mu     sync.RWMutex
	watch  *watch        // from the first descriptor on; guarded by mu
	at     []*descriptor // by descriptor, nil is none; guarded by mu
	closed bool          // guarded by mu
}

// watch is the system's side of a Set.
type watch struct {
	epoll  int
	waking int           // an eventfd, written by Close
	ended  chan struct{} // closed when nobody is told anything any more
}

func newWatch() (*watch, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("sockets: epoll: %w", err)
	}
	waking, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sockets: eventfd: %w", err), unix.Close(epoll))
	}
	w := &watch{epoll: epoll, waking: waking, ended: make(chan struct{})}
	if err := w.add(waking, unix.EPOLLIN); err != nil {
		return nil, errors.Join(err, w.release())
	}
	return w, nil
}

func (w *watch) add(fd int, events uint32) error {
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil { // #nosec G115 -- a descriptor
		return fmt.Errorf("sockets: epoll: %w", err)
	}
	return nil
}

func (w *watch) release() error { return errors.Join(unix.Close(w.epoll), unix.Close(w.waking)) }

// run tells owners until Close.
func (s *Set) run(w *watch) {
	defer close(w.ended)
	events := make([]unix.EpollEvent, batch)
	for {
		// Who is busy does not wait here: a thread in a system call keeps the runtime's watch over threads awake.
		n, err := unix.EpollWait(w.epoll, events, 0)
		if n == 0 {
			n, err = unix.EpollWait(w.epoll, events, -1)
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(fmt.Sprintf("sockets: epoll_wait: %v", err)) // the descriptor is ours, and so is the memory
		}
		for _, event := range events[:max(n, 0)] {
			if int(event.Fd) == w.waking {
				return
			}
			if d := s.find(int(event.Fd)); d != nil {
				d.happened(event.Events)
			}
		}
		time.Sleep(pause)
	}
}

// Close waits until nobody is told anything any more. Connections stay open, and none is taken. An owner must not call it.
func (s *Set) Close() {
	s.mu.Lock()
	w, first := s.watch, !s.closed
	s.closed = true
	s.mu.Unlock()
	if w == nil || !first {
		return
	}
	_, _ = unix.Write(w.waking, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // it is not full: this is the only write
	<-w.ended
	w.release() //nolint:errcheck // there is nothing to be done about it
}

// Take makes the Set tell owner of conn, which nobody else may use meanwhile. Readable is said at first in any
// case, for what crypto/tls may hold already. After an error conn is as it was, and the owner is told nothing.
func (s *Set) Take(conn *Conn, owner Owner) error {
	source, ok := conn.plain.(syscall.Conn)
	if !ok {
		return takeByPump(conn, owner)
	}
	fd, err := duplicate(source)
	if err != nil {
		return err
	}
	d, plain := &descriptor{set: s, owner: owner, fd: fd}, conn.plain
	conn.taken, conn.plain = d, nil
	if err := s.add(d); err != nil {
		conn.taken, conn.plain = nil, plain
		return errors.Join(err, unix.Close(fd))
	}
	plain.Close() //nolint:errcheck // the copy lives, without the memory that package net has for the original
	return nil
}

func duplicate(source syscall.Conn) (fd int, err error) {
	raw, err := source.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(original uintptr) {
		fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(failed, err)
}

func (s *Set) add(d *descriptor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if s.watch == nil {
		w, err := newWatch()
		if err != nil {
			return err
		}
		s.watch = w
		go s.run(w)
	}
	if d.fd >= len(s.at) {
		s.at = append(s.at, make([]*descriptor, d.fd+1-len(s.at))...)
	}
	s.at[d.fd] = d
	// Edges only: a descriptor that cannot be written is no news again and again, and no call is needed to say
	// what is waited for.
	if err := s.watch.add(d.fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
		s.at[d.fd] = nil
		return err
	}
	return nil
}

// forget makes room for whoever gets the descriptor next.
func (s *Set) forget(d *descriptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[d.fd] = nil
}

func (s *Set) find(fd int) *descriptor {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if fd >= len(s.at) {
		return nil
	}
	return s.at[fd]
}
