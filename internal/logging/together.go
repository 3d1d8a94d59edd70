package logging

import (
	"bytes"
	"io"
	"runtime"
	"sync"
)

// pipeAtomic is how much Linux writes to a pipe in one piece, never mixed with what another process
// writes there (PIPE_BUF, pipe(7)). POSIX guarantees 512 octets; Linux, the BSDs and macOS differ above that.
const pipeAtomic = 4096

// together writes lines of several goroutines with one call, which for a daemon under load is most of what a line
// costs. Nothing is postponed: Write returns when the line is written, by whoever wrote it. It is safe for concurrent use.
type together struct {
	w io.Writer

	mu      sync.Mutex // guards pending and its lines, and spare
	pending *batch     // what the next writer takes; nil: nothing
	spare   [2][]byte  // one batch is written while another gathers

	writing sync.Mutex // held by the one who writes; guards each batch's outcome
}

// batch is what one goroutine writes for all who came meanwhile.
type batch struct {
	lines   []byte // guarded by together.mu until it is taken, then its writer's
	written bool
	err     error
}

// Write writes line, which ends with its line feed.
func (t *together) Write(line []byte) (int, error) {
	b := t.join(line)
	runtime.Gosched() // whoever is ready to run may join; where nobody is, this takes a fraction of a microsecond
	t.writing.Lock()
	defer t.writing.Unlock()
	if !b.written {
		t.flush(b)
	}
	if b.err != nil {
		return 0, b.err
	}
	return len(line), nil
}

func (t *together) join(line []byte) *batch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending == nil {
		t.pending = &batch{lines: t.spare[0][:0]}
		t.spare[0], t.spare[1] = t.spare[1], nil
	}
	t.pending.lines = append(t.pending.lines, line...)
	return t.pending
}

// flush is called with writing held, so a batch that is not written is the pending one.
func (t *together) flush(b *batch) {
	t.mu.Lock()
	t.pending = nil
	t.mu.Unlock()
	b.written, b.err = true, writePieces(t.w, b.lines)
	t.mu.Lock()
	defer t.mu.Unlock()
	if cap(b.lines) <= 16*pipeAtomic {
		t.spare[1], t.spare[0] = t.spare[0], b.lines
	}
	b.lines = nil
}

// writePieces writes whole lines at a time, as many as a pipe takes in one piece.
func writePieces(w io.Writer, lines []byte) error {
	for len(lines) > 0 {
		n := len(lines)
		if n > pipeAtomic {
			if n = bytes.LastIndexByte(lines[:pipeAtomic], '\n') + 1; n == 0 {
				n = bytes.IndexByte(lines, '\n') + 1 // one long line
			}
			if n == 0 {
				n = len(lines)
			}
		}
		if _, err := w.Write(lines[:n]); err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}
