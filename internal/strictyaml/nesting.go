package strictyaml

import (
	"bytes"
	"fmt"
)

// Limits of nesting. The parser underneath keeps the whole path of every node, so its
// memory grows with the square of the depth: 100 KB of "[" would take gigabytes.
const (
	maxDepth  = 100 // of "[" and "{", and of "- " and "? " on one line
	maxIndent = 400 // columns before a line's first character
)

// checkNesting bounds the depth before data is parsed. It does not know quotes or
// comments, so it may count what is none; no configuration comes near the limits.
func checkNesting(name string, data []byte) error {
	open, number := 0, 0
	for line := range bytes.Lines(data) {
		number++
		rest := bytes.TrimLeft(line, " ")
		deep := len(line)-len(rest) > maxIndent
		for markers := 0; len(rest) > 1 && (rest[0] == '-' || rest[0] == '?') && (rest[1] == ' ' || rest[1] == '\t'); markers++ {
			rest = bytes.TrimLeft(rest[1:], " \t")
			deep = deep || markers == maxDepth
		}
		for _, c := range rest {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(open-1, 0)
			}
			deep = deep || open > maxDepth
		}
		if deep {
			return fmt.Errorf("%s:%d: nested too deeply", name, number)
		}
	}
	return nil
}
