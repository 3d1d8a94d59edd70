package sockets

import (
	"net"
	"sync"
)

// pump does with goroutines what a Set does with epoll, for any net.Conn.
type pump struct {
	conn  net.Conn
	owner Owner

	telling sync.Mutex // one call of the owner at a time

	mu     sync.Mutex
	in     []byte // read and not asked for yet
	failed error  // of reading, once in is empty
	out    []byte // written and not taken by the system yet
	busy   bool   // somebody writes out
	broken error  // of writing
	closed bool
}

// chunk is how much a pump reads at once.
const chunk = 512

func takeByPump(conn *Conn, owner Owner) error {
	if conn.taken != nil {
		return errTwice
	}
	p := &pump{conn: conn.plain, owner: owner}
	conn.taken, conn.plain = p, nil
	go p.pull()
	return nil
}

// pull reads until the owner leaves something unread, which is what it does with a connection that it has given up.
func (p *pump) pull() {
	p.tell(p.owner.Readable)
	buffer := make([]byte, chunk)
	for {
		n, err := p.conn.Read(buffer)
		p.mu.Lock()
		p.in, p.failed = buffer[:n], err
		p.mu.Unlock()
		p.tell(p.owner.Readable)
		p.mu.Lock()
		over := err != nil || p.closed || len(p.in) > 0
		p.mu.Unlock()
		if over {
			return
		}
	}
}

func (p *pump) tell(what func()) {
	p.telling.Lock()
	defer p.telling.Unlock()
	what()
}

func (p *pump) read(to []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return 0, net.ErrClosed
	case len(p.in) > 0:
		n := copy(to, p.in)
		p.in = p.in[n:]
		return n, nil
	case p.failed != nil:
		return 0, p.failed
	default:
		return 0, ErrNotYet
	}
}

func (p *pump) write(octets []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return 0, net.ErrClosed
	case p.broken != nil:
		return 0, p.broken
	}
	p.out = append(p.out, octets...)
	if !p.busy {
		p.busy = true
		go p.push()
	}
	return len(octets), nil
}

// push writes until nothing is kept.
func (p *pump) push() {
	for {
		p.mu.Lock()
		part := p.out
		if len(part) == 0 || p.broken != nil {
			p.busy = false
			p.mu.Unlock()
			p.tell(p.owner.Writable)
			return
		}
		p.out = nil
		p.mu.Unlock()
		_, err := p.conn.Write(part)
		p.mu.Lock()
		p.broken = err
		p.mu.Unlock()
	}
}

// kept counts what is being written as one octet: how much of it the system has taken is not known.
func (p *pump) kept() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy {
		return len(p.out) + 1
	}
	return 0
}

func (p *pump) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.conn.Close()
}
