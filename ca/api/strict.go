package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep a body may nest; the deepest type of the API needs 3.
const maxDepth = 8

// DecodeStrict reads exactly one JSON object into the struct that v points to. On top of
// encoding/json it refuses unknown fields, repeated fields, field names in another case
// (which encoding/json would take for the same field), anything behind the object,
// invalid UTF-8, deep nesting and a null or another value in the object's place. What
// two readers could read differently is refused. The error says where, in words for the
// caller, and never quotes a string or a binary value. The caller bounds len(data).
func DecodeStrict(data []byte, v any) error {
	var room [maxFlat]flatField
	fields, ok := flat(data, room[:0])
	if !ok {
		if err := checkObject(data, lowerKey); err != nil {
			return err
		}
	} else if reader, ok := v.(flatReader); ok && reader.readFlat(fields) {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return describe(err)
	}
	return nil
}

// describe says what is wrong without the values, which may be secret.
func describe(err error) error {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return fmt.Errorf("field %q: expected %s", wrongType.Field, wrongType.Type)
	}
	text := err.Error()
	if field, ok := strings.CutPrefix(text, "json: unknown field "); ok {
		return fmt.Errorf("unknown field %.64s", field)
	}
	if strings.Contains(text, "base64") {
		return errors.New("a binary field is not base64 (standard alphabet, with padding)")
	}
	if strings.HasPrefix(text, "parsing time ") || strings.Contains(text, "Time.UnmarshalJSON") {
		return errors.New("a time is not written as RFC 3339 wants it, such as 2026-01-31T12:00:00Z")
	}
	// Types with a text form of their own (durations, serials, reasons) quote what they refuse.
	return errors.New(quoted.ReplaceAllLiteralString(strings.TrimPrefix(text, "json: "), "(not shown)"))
}

// quoted is a value in an error, as %q writes it.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// checkObject walks the tokens of one JSON object.
func checkObject(data []byte, allowed func(string) bool) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	w := walker{decoder: json.NewDecoder(bytes.NewReader(data)), allowed: allowed}
	w.decoder.UseNumber()
	first, err := w.decoder.Token()
	if err != nil {
		return syntax(err)
	}
	if first != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	if err := w.object(1); err != nil {
		return err
	}
	if _, err := w.decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

type walker struct {
	decoder *json.Decoder
	allowed func(key string) bool
}

func (w *walker) object(depth int) error {
	seen := map[string]bool{}
	for w.decoder.More() {
		token, err := w.decoder.Token()
		if err != nil {
			return syntax(err)
		}
		key, ok := token.(string)
		if !ok || !w.allowed(key) {
			return fmt.Errorf("unknown field %.64q", key)
		}
		if seen[key] {
			return fmt.Errorf("field %.64q stands there twice", key)
		}
		seen[key] = true
		if err := w.value(depth); err != nil {
			return err
		}
	}
	_, err := w.decoder.Token() // the closing brace
	return syntax(err)
}

func (w *walker) array(depth int) error {
	for w.decoder.More() {
		if err := w.value(depth); err != nil {
			return err
		}
	}
	_, err := w.decoder.Token() // the closing bracket
	return syntax(err)
}

func (w *walker) value(depth int) error {
	token, err := w.decoder.Token()
	if err != nil {
		return syntax(err)
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth >= maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if delim == '{' {
		return w.object(depth + 1)
	}
	return w.array(depth + 1)
}

func syntax(err error) error {
	var detail *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &detail):
		return fmt.Errorf("malformed JSON at byte %d", detail.Offset)
	default:
		return errors.New("malformed JSON: it ends too early")
	}
}

// lowerKey is the alphabet of the API's field names; it leaves no room for case folding.
func lowerKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return key != ""
}

func anyKey(string) bool { return true }
