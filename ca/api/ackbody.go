package api

import (
	"encoding/binary"
	"io"
	"sync"
)

// ackBody is the request body of a stream: acknowledgements as they come. io.Pipe would
// make who acknowledges wait for the network.
type ackBody struct {
	mu      sync.Mutex
	changed sync.Cond // on mu
	next    [AckSize]byte
	waiting bool  // next is to be sent
	err     error // what Read ends with, and put: io.EOF when nothing more is to come
}

func newAckBody() *ackBody {
	b := &ackBody{}
	b.changed.L = &b.mu
	return b
}

func (b *ackBody) put(sequence uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return errClosed
	}
	binary.BigEndian.PutUint64(b.next[:], sequence)
	b.waiting = true
	b.changed.Signal()
	return nil
}

// end lets Read end after what waits.
func (b *ackBody) end() { b.finish(io.EOF) }

func (b *ackBody) finish(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.changed.Signal()
}

// Read implements io.Reader. The transport reads with room for many acknowledgements.
func (b *ackBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.waiting && b.err == nil {
		b.changed.Wait()
	}
	switch {
	case !b.waiting:
		return 0, b.err
	case len(p) < AckSize:
		return 0, io.ErrShortBuffer
	}
	b.waiting = false
	return copy(p, b.next[:]), nil
}

// Close implements io.Closer: the transport calls it when the stream is over.
func (b *ackBody) Close() error {
	b.finish(errClosed)
	return nil
}
