// Package strictyaml reads configuration: an unknown key, a duplicate, a wrong type,
// a second document or an oversize file is one error that names file, line and column.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"
)

// MaxSize is the largest document that is read, in bytes.
const MaxSize = 4 << 20

// ReadFile decodes the file at path into v, a pointer to a struct with yaml tags.
func ReadFile(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return err
	}
	return Decode(path, data, v)
}

// Decode decodes data into v. name stands in errors for where data came from.
func Decode(name string, data []byte, v any) error {
	if len(data) > MaxSize {
		return fmt.Errorf("%s: over %d bytes", name, MaxSize)
	}
	if err := checkNesting(name, data); err != nil {
		return err
	}
	if err := checkAliases(name, data); err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	err := decoder.Decode(v)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: empty", name)
	}
	if err != nil {
		return locate(name, err)
	}
	var second any
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one YAML document", name)
	}
	return nil
}

// locate puts the place before the message, as compilers do, and leaves out the
// excerpt: configuration may hold secrets, and errors are logged.
func locate(name string, err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	place := at.GetToken().Position
	return fmt.Errorf("%s:%d:%d: %s", name, place.Line, place.Column, at.GetMessage())
}
