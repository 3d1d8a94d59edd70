package issuer

import (
	"bufio"
	"crypto"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// knownBadText lists keys whose private half is published; the file says where.
//
//go:embed knownbad.txt
var knownBadText string

// knownBad returns the built-in list: SHA-256 of the SubjectPublicKeyInfo to origin.
func knownBad() map[[sha256.Size]byte]string { return knownBadOnce() }

var knownBadOnce = sync.OnceValue(func() map[[sha256.Size]byte]string {
	keys, err := readDigests("knownbad.txt", strings.NewReader(knownBadText))
	if err != nil {
		// The file is part of the program and a test reads it.
		panic(err)
	}
	return keys
})

// KeyList is a set of public keys that are refused, by the SHA-256 of their
// SubjectPublicKeyInfo. It is immutable; nil is the empty list.
type KeyList struct {
	keys map[[sha256.Size]byte]string
}

// Limits of an operator's list.
const (
	maxKeyListLine = 4 << 10
	maxKeyListKeys = 1 << 20
)

// ReadKeyList reads one SHA-256 of a SubjectPublicKeyInfo a line, in hexadecimal,
// optionally followed by a remark; empty lines and lines that begin with '#' are
// skipped. `openssl pkey -pubin -outform DER | sha256sum` makes such a line. name
// stands in errors. At most 2^20 keys are read.
func ReadKeyList(name string, r io.Reader) (*KeyList, error) {
	keys, err := readDigests(name, r)
	if err != nil {
		return nil, err
	}
	return &KeyList{keys: keys}, nil
}

// NewKeyList returns the list of the given keys, such as the CA's roots. remark says
// in refusals what they are.
func NewKeyList(remark string, keys ...crypto.PublicKey) (*KeyList, error) {
	list := &KeyList{keys: make(map[[sha256.Size]byte]string, len(keys))}
	for _, pub := range keys {
		key, err := encodeKey(pub, "")
		if err != nil {
			return nil, fmt.Errorf("list of refused keys: %w", err)
		}
		list.keys[key.digest] = remark
	}
	return list, nil
}

// Len returns the number of keys.
func (l *KeyList) Len() int {
	if l == nil {
		return 0
	}
	return len(l.keys)
}

func readDigests(name string, r io.Reader) (map[[sha256.Size]byte]string, error) {
	keys := make(map[[sha256.Size]byte]string)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxKeyListLine)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		digits, remark, _ := strings.Cut(line, " ")
		digest, err := hex.DecodeString(digits)
		if err != nil || len(digest) != sha256.Size {
			return nil, fmt.Errorf("%s:%d: a line begins with the SHA-256 of a SubjectPublicKeyInfo, 64 hexadecimal digits", name, number)
		}
		if len(keys) == maxKeyListKeys {
			return nil, fmt.Errorf("%s:%d: more than %d keys", name, number, maxKeyListKeys)
		}
		if remark = strings.TrimSpace(remark); remark == "" {
			remark = "listed in " + name
		}
		keys[[sha256.Size]byte(digest)] = remark
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("%s: a line has over %d bytes", name, maxKeyListLine)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return keys, nil
}
