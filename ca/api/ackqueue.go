package api

import (
	"encoding/binary"
	"sync"
	"time"
)

// ackQueue holds the one acknowledgement that is to be sent, so that who acknowledges does not wait for the
// network.
type ackQueue struct {
	mu      sync.Mutex
	changed sync.Cond // on mu
	last    uint64    // guarded by mu, as everything below: the newest acknowledgement
	at      time.Time // when it was put or repeated
	waiting bool      // last is to be sent
	stops   bool      // then AckStops is to be sent, and nothing more
	err     error     // what take ends with, and put
}

// newAckQueue makes one for a client that has acknowledged since.
func newAckQueue(since uint64) *ackQueue {
	q := &ackQueue{last: since, at: time.Now()}
	q.changed.L = &q.mu
	return q
}

func (q *ackQueue) put(sequence uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stops || q.err != nil {
		return errClosed
	}
	q.last = sequence
	q.send()
	return nil
}

// repeat sends the last one again if that was longer ago than age.
func (q *ackQueue) repeat(age time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.stops && q.err == nil && time.Since(q.at) > age {
		q.send()
	}
}

// send has q.mu held.
func (q *ackQueue) send() {
	q.waiting, q.at = true, time.Now()
	q.changed.Signal()
}

// stop has AckStops sent after what waits, and nothing more.
func (q *ackQueue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stops = true
	q.changed.Signal()
}

// close ends it at once.
func (q *ackQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = errClosed
	q.changed.Signal()
}

// take waits for an acknowledgement, as it goes over the wire. The error says that nothing more is to be sent.
func (q *ackQueue) take() (ack [AckSize]byte, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.waiting && !q.stops && q.err == nil {
		q.changed.Wait()
	}
	switch {
	case q.err != nil:
		return ack, q.err
	case q.waiting:
		q.waiting = false
		binary.BigEndian.PutUint64(ack[:], q.last)
	default:
		q.err = errClosed
		binary.BigEndian.PutUint64(ack[:], AckStops)
	}
	return ack, nil
}
