package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/handfast/handfast/ca/api"
)

// A state file is one line with a format name and a digest of the rest, then JSON.
// The digest tells a half-written or damaged file from a whole one.
const (
	stateMagic = "handfast-agent-state-1 "
	feedMagic  = "handfast-agent-feed-1 " // followed by a feed.View instead of JSON; written before there was viewLogMagic
)

// maxStateFile bounds what is read back: several CRLs of the API's limit, in base64.
const maxStateFile = 256 << 20

// errCorrupt is wrapped by every error about the content of a state file; errors
// of the file system are not corrupt.
var errCorrupt = errors.New("the file is damaged or half-written")

// encodeState renders v as a state file.
func encodeState(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return frameState(stateMagic, body), nil
}

// frameState puts the first line before body.
func frameState(magic string, body []byte) []byte {
	sum := sha256.Sum256(body)
	out := make([]byte, 0, len(magic)+2*len(sum)+1+len(body))
	out = append(out, magic...)
	out = hex.AppendEncode(out, sum[:])
	out = append(out, '\n')
	return append(out, body...)
}

// decodeState reads what encodeState made, strictly, into v. Errors never quote the
// content: it holds a private key.
func decodeState(data []byte, v any) error {
	body, err := unframeState(stateMagic, data)
	if err != nil {
		return err
	}
	if err := api.DecodeStrict(body, v); err != nil {
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return nil
}

// unframeState checks the first line and returns what stands behind it.
func unframeState(magic string, data []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(data, []byte(magic))
	if !ok {
		return nil, fmt.Errorf("%w: it does not begin with %q", errCorrupt, magic)
	}
	line, body, ok := bytes.Cut(rest, []byte("\n"))
	if !ok {
		return nil, fmt.Errorf("%w: it ends in its first line", errCorrupt)
	}
	sum := sha256.Sum256(body)
	if string(line) != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("%w: its digest does not match", errCorrupt)
	}
	return body, nil
}

// readState reads the state file at path into v. A file that is not there is fs.ErrNotExist.
func readState(path string, v any) error {
	data, err := readPrivate(path)
	if err != nil {
		return err
	}
	if err := decodeState(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	if err := checkPrivate(f, 0o077); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxStateFile {
		return nil, fmt.Errorf("%s: %w: over %d bytes", path, errCorrupt, maxStateFile)
	}
	return data, nil
}

// checkPrivate refuses a file or directory that others can reach: whoever can read
// it has the key, whoever can write it decides whom this service trusts.
func checkPrivate(f *os.File, forbidden os.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if open := info.Mode().Perm() & forbidden; open != 0 {
		return fmt.Errorf("%s has mode %04o, so others can reach the private key: run chmod go-rwx %s", f.Name(), info.Mode().Perm(), f.Name())
	}
	if err := checkOwner(f.Name(), info); err != nil {
		return err
	}
	return nil
}
