// Package logtest lets tests read a log, or any other output, while it is written.
package logtest

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// hanging bounds a wait for a line that never comes. It is no assertion: slow machines get there.
const hanging = time.Minute

// Buffer takes what is written. The zero value is empty. It is safe for concurrent use.
type Buffer struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // closed by the next Write; nil while nobody waits
}

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written != nil {
		close(b.written)
		b.written = nil
	}
	return b.text.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// WaitFor returns what was written as soon as that contains wanted, and ends the test if it never does.
func (b *Buffer) WaitFor(t testing.TB, wanted string) string {
	t.Helper()
	patience := time.NewTimer(hanging)
	defer patience.Stop()
	for {
		text, written := b.next()
		if strings.Contains(text, wanted) {
			return text
		}
		select {
		case <-written:
		case <-patience.C:
			t.Fatalf("%q never came:\n%s", wanted, text)
		}
	}
}

// next returns what was written, and a channel that is closed when there is more.
func (b *Buffer) next() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written == nil {
		b.written = make(chan struct{})
	}
	return b.text.String(), b.written
}
