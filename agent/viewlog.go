package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"

	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/atomicfile"
)

// A feed file is a view and what came after it, so that news cost what they are and not the whole again, which is 5.7 MB
// with a million revoked certificates. It is one line with the format's name, the digest of the view and its length; the view
// (feed.View.MarshalBinary); and records, each appended and synced before the next one:
//
//	4 octets  length of the delta, big-endian
//	4 octets  CRC-32C of these: a damaged length is not taken for a record that was cut off
//	          the delta (feed.View.Delta) to the view before it
//	32 octets SHA-256 of the 32 octets before the record that stand for everything so far (of the view's own digest at first), and the delta
//
// A crash leaves the last record cut off, at any octet. It was not durable, so nobody was told of it, and what stands before
// it counts. Anything else that does not fit is damage, and nothing of the file counts.
const (
	viewLogMagic  = "handfast-agent-feed-2 "
	recordHeader  = 8
	recordDigest  = sha256.Size
	maxViewLog    = 1 << 20  // octets of records, after which the view is written anew
	maxViewRecord = 16 << 20 // more than any delta has
	maxViewLine   = 256
)

// viewLog is the feed file as it stands on disk. The zero value is none that can be appended to.
type viewLog struct {
	file  *os.File
	size  int // of the records
	chain [sha256.Size]byte
	view  *feed.View // what the file says
}

func (l *viewLog) close() error {
	file := l.file
	*l = viewLog{}
	if file == nil {
		return nil
	}
	return file.Close()
}

// append makes view durable behind what is there. It reports false when view has to be written whole.
func (l *viewLog) append(view *feed.View) (bool, error) {
	if l.file == nil {
		return false, nil
	}
	delta := view.Delta(l.view)
	if delta == nil || l.size+recordHeader+len(delta)+recordDigest > maxViewLog {
		return false, nil
	}
	chain := nextChain(l.chain, delta)
	if _, err := l.file.Write(appendRecord(nil, delta, chain)); err != nil {
		return false, err
	}
	if err := l.file.Sync(); err != nil {
		return false, err
	}
	l.size += recordHeader + len(delta) + recordDigest
	l.chain, l.view = chain, view
	return true, nil
}

// replace makes view durable in place of what is there.
func (l *viewLog) replace(path string, view *feed.View) error {
	body, err := view.MarshalBinary()
	if err != nil {
		return err
	}
	digest := sha256.Sum256(body)
	line := fmt.Sprintf("%s%x %d\n", viewLogMagic, digest, len(body))
	if err := atomicfile.Write(path, append([]byte(line), body...), 0o600); err != nil {
		return err
	}
	return l.reopen(path, viewLog{chain: digest, view: view})
}

// reopen goes on behind what path holds, which is read.
func (l *viewLog) reopen(path string, read viewLog) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	// A process that was killed may have written without syncing.
	if err := file.Sync(); err != nil {
		return errors.Join(err, file.Close())
	}
	err = l.close()
	*l = read
	l.file = file
	return err
}

func nextChain(chain [sha256.Size]byte, delta []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(chain[:])
	h.Write(delta)
	h.Sum(chain[:0])
	return chain
}

func appendRecord(b, delta []byte, chain [sha256.Size]byte) []byte {
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(delta))) // #nosec G115 -- at most 4 MiB
	b = append(b, length[:]...)
	b = binary.BigEndian.AppendUint32(b, lengthSum(length))
	b = append(b, delta...)
	return append(b, chain[:]...)
}

func lengthSum(length [4]byte) uint32 {
	return crc32.Checksum(length[:], crc32.MakeTable(crc32.Castagnoli))
}

// readViewLog reads a feed file. torn is that its last record was cut off.
func readViewLog(data []byte) (log viewLog, torn bool, err error) {
	body, records, err := splitViewLog(data)
	if err != nil {
		return viewLog{}, false, err
	}
	log.chain = sha256.Sum256(body)
	if log.view, err = feed.ParseView(body); err != nil {
		return viewLog{}, false, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	log.size = len(records)
	for len(records) > 0 {
		var delta []byte
		delta, records, err = nextRecord(records, &log.chain)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return log, true, nil
		}
		if err == nil {
			log.view, err = log.view.Patch(delta)
		}
		if err != nil {
			return viewLog{}, false, fmt.Errorf("%w: a record: %w", errCorrupt, err)
		}
	}
	return log, false, nil
}

// splitViewLog checks the first line and the view behind it.
func splitViewLog(data []byte) (body, records []byte, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(viewLogMagic))
	if !ok {
		return nil, nil, fmt.Errorf("%w: it does not begin with %q", errCorrupt, viewLogMagic)
	}
	line, rest, ok := bytes.Cut(rest, []byte("\n"))
	digest, size, cut := bytes.Cut(line, []byte(" "))
	if !ok || !cut || len(line) > maxViewLine {
		return nil, nil, fmt.Errorf("%w: its first line is", errCorrupt)
	}
	length, err := strconv.ParseUint(string(size), 10, 32)
	if err != nil || length > uint64(len(rest)) {
		return nil, nil, fmt.Errorf("%w: it is shorter than it says", errCorrupt)
	}
	body = rest[:length]
	if sum := sha256.Sum256(body); string(digest) != hex.EncodeToString(sum[:]) {
		return nil, nil, fmt.Errorf("%w: its digest does not match", errCorrupt)
	}
	return body, rest[length:], nil
}

// nextRecord takes a record off, and moves chain behind it. io.ErrUnexpectedEOF is one that was cut off.
func nextRecord(data []byte, chain *[sha256.Size]byte) (delta, rest []byte, err error) {
	if len(data) < recordHeader {
		return nil, nil, io.ErrUnexpectedEOF
	}
	length := [4]byte(data)
	n := int(binary.BigEndian.Uint32(length[:]))
	if binary.BigEndian.Uint32(data[4:]) != lengthSum(length) || n > maxViewRecord {
		return nil, nil, errors.New("its length is damaged")
	}
	data = data[recordHeader:]
	if len(data) < n+recordDigest {
		return nil, nil, io.ErrUnexpectedEOF
	}
	next := nextChain(*chain, data[:n])
	if !bytes.Equal(next[:], data[n:n+recordDigest]) {
		return nil, nil, errors.New("its digest does not match")
	}
	*chain = next
	return data[:n], data[n+recordDigest:], nil
}
