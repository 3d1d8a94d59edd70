// Package output writes what the CLI has to say: tables and words for people, JSON and
// YAML for programs. Colour is for terminals only, and no text out of a certificate or
// from the CA can send a control character to one.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Format is a way to show an answer; it is a flag value (pflag.Value).
type Format string

// The formats. Not every command has every one.
const (
	Table Format = "table" // the columns that matter
	Wide  Format = "wide"  // every column
	Text  Format = "text"  // words
	JSON  Format = "json"  // the API's field names; stable
	YAML  Format = "yaml"  // as JSON
)

// Value checks a format against those that a command has; it implements pflag.Value.
type Value struct {
	Format  Format
	Choices []Format
}

// NewValue returns a flag value with the first choice as its default.
func NewValue(choices ...Format) *Value {
	return &Value{Format: choices[0], Choices: choices}
}

// String returns the chosen format.
func (v *Value) String() string { return string(v.Format) }

// Type names the value in help texts.
func (v *Value) Type() string { return "FORMAT" }

// Set chooses a format.
func (v *Value) Set(s string) error {
	if !slices.Contains(v.Choices, Format(s)) {
		return fmt.Errorf("use %s", v.List())
	}
	v.Format = Format(s)
	return nil
}

// List names the choices, for help and errors.
func (v *Value) List() string {
	names := make([]string, len(v.Choices))
	for i, choice := range v.Choices {
		names[i] = string(choice)
	}
	return strings.Join(names, ", ")
}

// IsData reports whether programs are meant to read the format.
func (f Format) IsData() bool { return f == JSON || f == YAML }

// WriteData writes v as JSON or YAML with the names of its json tags.
func WriteData(w io.Writer, f Format, v any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", f, err)
	}
	data := b.Bytes()
	if f == YAML {
		var err error
		if data, err = yaml.JSONToYAML(data); err != nil {
			return fmt.Errorf("write yaml: %w", err)
		}
	}
	_, err := w.Write(data)
	return err
}
