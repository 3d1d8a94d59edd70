// Package wire is what clients ask of the service behind a TCP proxy: so many bytes down,
// so many up, or to be echoed.
package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// What a client can ask for, as the first byte of a request of nine; the others are a size.
const (
	down = 'd' // send me SIZE bytes
	up   = 'u' // take SIZE bytes, then answer with one
	echo = 'e' // send the SIZE bytes back that follow
)

// chunk is how much is written or read at once.
const chunk = 64 << 10

func header(kind byte, size int) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(size))
}

// Down has the service send size bytes.
func Down(conn io.ReadWriter, buffer []byte, size int) error {
	if _, err := conn.Write(header(down, size)); err != nil {
		return err
	}
	return take(conn, buffer, size)
}

// Up sends size bytes to the service and waits until it has them.
func Up(conn io.ReadWriter, buffer []byte, size int) error {
	if _, err := conn.Write(header(up, size)); err != nil {
		return err
	}
	if err := give(conn, buffer, size); err != nil {
		return err
	}
	return take(conn, buffer, 1)
}

// Echo sends message and waits until it came back.
func Echo(conn io.ReadWriter, buffer, message []byte) error {
	if _, err := conn.Write(append(header(echo, len(message)), message...)); err != nil {
		return err
	}
	return take(conn, buffer, len(message))
}

// NewBuffer is for Down, Up and Echo; each connection needs one.
func NewBuffer() []byte { return make([]byte, chunk) }

// Answer is the service: it does what conn asks until conn ends, which is no error.
func Answer(conn io.ReadWriter) error {
	buffer := NewBuffer()
	for {
		var request [9]byte
		if _, err := io.ReadFull(conn, request[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := answer(conn, buffer, request[0], int(binary.BigEndian.Uint64(request[1:]))); err != nil {
			return err
		}
	}
}

func answer(conn io.ReadWriter, buffer []byte, kind byte, size int) error {
	switch {
	case kind == down:
		return give(conn, buffer, size)
	case kind == up:
		if err := take(conn, buffer, size); err != nil {
			return err
		}
		return give(conn, buffer, 1)
	case kind == echo && size >= 0 && size <= len(buffer):
		if _, err := io.ReadFull(conn, buffer[:size]); err != nil {
			return err
		}
		return give(conn, buffer, size)
	default:
		return fmt.Errorf("request %q of %d bytes is not understood", kind, size)
	}
}

func give(w io.Writer, buffer []byte, size int) error {
	for size > 0 {
		n, err := w.Write(buffer[:min(size, len(buffer))])
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}

func take(r io.Reader, buffer []byte, size int) error {
	for size > 0 {
		n, err := r.Read(buffer[:min(size, len(buffer))])
		size -= n
		if err != nil && size > 0 {
			return err
		}
	}
	return nil
}
