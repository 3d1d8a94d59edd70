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
const stateMagic = "handfast-agent-state-1 "

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
	sum := sha256.Sum256(body)
	out := make([]byte, 0, len(stateMagic)+2*len(sum)+1+len(body))
	out = append(out, stateMagic...)
	out = hex.AppendEncode(out, sum[:])
	out = append(out, '\n')
	return append(out, body...), nil
}

// decodeState reads what encodeState made, strictly, into v. Errors never quote the
// content: it holds a private key.
func decodeState(data []byte, v any) error {
	rest, ok := bytes.CutPrefix(data, []byte(stateMagic))
	if !ok {
		return fmt.Errorf("%w: it does not begin with %q", errCorrupt, stateMagic)
	}
	line, body, ok := bytes.Cut(rest, []byte("\n"))
	if !ok {
		return fmt.Errorf("%w: it ends in its first line", errCorrupt)
	}
	sum := sha256.Sum256(body)
	if string(line) != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("%w: its digest does not match", errCorrupt)
	}
	if err := api.DecodeStrict(body, v); err != nil {
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return nil
}

// readState reads the state file at path into v. A file that is not there is fs.ErrNotExist.
func readState(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	if err := checkPrivate(f, 0o077); err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err != nil {
		return err
	}
	if len(data) > maxStateFile {
		return fmt.Errorf("%s: %w: over %d bytes", path, errCorrupt, maxStateFile)
	}
	if err := decodeState(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
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
