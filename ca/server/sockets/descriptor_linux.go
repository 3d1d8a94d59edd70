package sockets

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// descriptor is a connection that a Set has, on Linux.
type descriptor struct {
	set   *Set
	owner Owner

	mu    sync.Mutex // held for system calls that do not wait, so that the descriptor is not closed under them
	fd    int        // not changed; shut says whether it is ours still
	shut  bool
	dry   bool   // the last read took all there was
	ended bool   // the peer says no more, or the connection is broken: read until that shows
	full  bool   // the system takes no more; out is not empty
	out   []byte // written and not taken by the system yet
	lost  error  // why what was kept cannot be written
}

// happened is an event. The Set's goroutine calls it.
func (d *descriptor) happened(events uint32) {
	d.mu.Lock()
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		d.dry = false
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		d.ended = true
	}
	readable, writable := !d.dry, false
	if d.full && !d.shut && events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		d.flush()
		writable = !d.full
	}
	d.mu.Unlock()
	if readable {
		d.owner.Readable()
	}
	if writable {
		d.owner.Writable()
	}
}

func (d *descriptor) read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.shut:
		return 0, net.ErrClosed
	case d.dry && !d.ended:
		return 0, ErrNotYet
	case len(p) == 0:
		return 0, nil
	}
	n, err := again(unix.SYS_READ, d.fd, p)
	switch {
	case errors.Is(err, unix.EAGAIN):
		d.dry = true
		return 0, ErrNotYet
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	d.dry = n < len(p) // epoll(7): then nothing is left, and what comes later is an event
	return n, nil
}

func (d *descriptor) write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.shut:
		return 0, net.ErrClosed
	case d.lost != nil:
		return 0, d.lost
	case d.full:
		d.out = append(d.out, p...)
		return len(p), nil
	}
	n, err := d.send(p)
	if err != nil {
		return n, err
	}
	if n < len(p) {
		d.out, d.full = append([]byte(nil), p[n:]...), true
	}
	return len(p), nil
}

// send writes until the system takes no more. d.mu is held.
func (d *descriptor) send(p []byte) (sent int, err error) {
	for sent < len(p) {
		n, err := again(unix.SYS_WRITE, d.fd, p[sent:])
		if errors.Is(err, unix.EAGAIN) {
			return sent, nil
		}
		if err != nil {
			return sent, os.NewSyscallError("write", err)
		}
		sent += n
	}
	return sent, nil
}

// flush writes what is kept. d.mu is held.
func (d *descriptor) flush() {
	n, err := d.send(d.out)
	d.out, d.lost = d.out[n:], err
	if len(d.out) == 0 || err != nil {
		d.out, d.full = nil, false
	}
}

func (d *descriptor) kept() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.out)
}

func (d *descriptor) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return net.ErrClosed
	}
	d.shut, d.out = true, nil
	d.set.forget(d)
	return unix.Close(d.fd)
}

// again does a system call with p, which is not empty, and repeats it where a signal has interrupted it. It is raw: none of them
// waits, and the runtime, which makes ready for one that does, watches threads in system calls at a tenth of the price of the calls.
func again(call uintptr, fd int, p []byte) (int, error) {
	for {
		n, _, err := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) // #nosec G103 -- as package syscall does
		switch err {
		case 0:
			return int(n), nil // #nosec G115 -- at most len(p)
		case unix.EINTR:
		default:
			return 0, err
		}
	}
}
