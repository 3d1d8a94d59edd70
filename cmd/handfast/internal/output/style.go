package output

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Colour is an ANSI foreground colour; the zero value leaves text as it is.
type Colour int

// The colours: what is well, what needs attention, what is wrong, and what matters less.
const (
	Plain  Colour = 0
	Green  Colour = 32
	Yellow Colour = 33
	Red    Colour = 31
	Faint  Colour = 2
)

// Style knows whether text may be coloured. The zero value never colours.
type Style struct{ enabled bool }

// NewStyle allows colours when w is a terminal that has them and the user has not set
// NO_COLOR (https://no-color.org: any value but the empty one).
func NewStyle(w io.Writer, getenv func(string) string) Style {
	return Style{enabled: IsTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

// Paint returns s in colour c, where colours are allowed.
func (s Style) Paint(c Colour, text string) string {
	if !s.enabled || c == Plain || text == "" {
		return text
	}
	return "\x1b[" + strconv.Itoa(int(c)) + "m" + text + "\x1b[0m"
}

// IsTerminal reports whether f, a reader or a writer, is a terminal.
func IsTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Clean makes text harmless on a terminal: what is not printable is written as an
// escape, so that a certificate's subject cannot move the cursor or forge a line.
func Clean(text string) string {
	if !strings.ContainsFunc(text, isUnprintable) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if isUnprintable(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// isUnprintable is true for control characters, for marks that turn the direction of
// writing, and for bytes that are no UTF-8.
func isUnprintable(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// StatusColour is the colour of a certificate's status in the API's words.
func StatusColour(status string) Colour {
	switch status {
	case "valid", "good":
		return Green
	case "expired", "held":
		return Yellow
	case "revoked":
		return Red
	default:
		return Plain
	}
}
