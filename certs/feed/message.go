package feed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The messages of a stream, and of an answer to a poll.
const (
	// SignerMessage is a signer's chain, DER certificates one behind the other, the leaf first: it
	// comes before that signer's first statement.
	SignerMessage byte = 1
	// StatementMessage is a signed statement.
	StatementMessage byte = 2
	// EndMessage is a stream's last message: why the CA ends it, which package ca/api reads. It is not
	// signed, and no holder sees it.
	EndMessage byte = 3
)

const (
	messageHeader = 5
	maxSignerSize = 16 << 10 // and of messages of other kinds
)

// AppendMessage appends a message: its kind, the payload's length in four octets (big endian), the payload.
func AppendMessage(dst []byte, kind byte, payload []byte) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload))) // #nosec G115 -- Sign's limit is 64 MiB
	return append(dst, payload...)
}

// Reader reads messages from an unbuffered stream. It is not safe for concurrent use.
type Reader struct{ from io.Reader }

// NewReader returns a Reader of from.
func NewReader(from io.Reader) *Reader { return &Reader{from: from} }

// Next returns the next message. io.EOF is the end between two messages;
// io.ErrUnexpectedEOF one in the middle. A signer may have 16 KiB, a statement 64 MiB; memory is taken
// as octets arrive, not as they are announced. Messages of unknown kinds are returned too: pass
// over them. The payload is the caller's.
func (r *Reader) Next() (kind byte, payload []byte, err error) {
	var header [messageHeader]byte
	if _, err := io.ReadFull(r.from, header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, nil, io.EOF
		}
		return 0, nil, fmt.Errorf("feed: reading a message: %w", err)
	}
	kind = header[0]
	length, limit := int64(binary.BigEndian.Uint32(header[1:])), int64(maxSignerSize)
	if kind == StatementMessage {
		limit = maxStatementSize
	}
	if length > limit {
		return 0, nil, fmt.Errorf("feed: a message of kind %d has %d bytes; at most %d are allowed", kind, length, limit)
	}
	var body bytes.Buffer
	body.Grow(int(min(length, 64<<10)))
	if _, err := io.CopyN(&body, r.from, length); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("feed: reading a message: %w", err)
	}
	return kind, body.Bytes(), nil
}
