package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// A narrator prints what happens: titles, the commands as a person would type them,
// what they print, and what was proved by it.
type narrator struct {
	w      io.Writer
	step   int
	bold   string
	dim    string
	green  string
	normal string
}

func newNarrator(w io.Writer) *narrator {
	n := &narrator{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" {
		n.bold, n.dim, n.green, n.normal = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[0m"
	}
	return n
}

func (n *narrator) title(text string) {
	n.step++
	fmt.Fprintf(n.w, "\n%s%d. %s%s\n", n.bold, n.step, text, n.normal) //nolint:errcheck // a closed terminal stops nothing
}

// command prints what is run, by the program's bare name.
func (n *narrator) command(line string) {
	fmt.Fprintf(n.w, "   %s$ %s%s\n", n.dim, line, n.normal) //nolint:errcheck // as above
}

// output prints what a program said, at most limit lines of it.
func (n *narrator) output(text string, limit int) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		if i == limit {
			fmt.Fprintf(n.w, "     … %d more lines\n", len(lines)-limit) //nolint:errcheck // as above
			return
		}
		fmt.Fprintf(n.w, "     %s\n", line) //nolint:errcheck // as above
	}
}

// proved prints what the step has shown.
func (n *narrator) proved(format string, args ...any) {
	fmt.Fprintf(n.w, "   %s✓%s %s\n", n.green, n.normal, fmt.Sprintf(format, args...)) //nolint:errcheck // as above
}

func (n *narrator) end(took time.Duration) {
	fmt.Fprintf(n.w, "\n%sAll of it held.%s %d steps in %.0f s.\n", n.bold, n.normal, n.step, took.Seconds()) //nolint:errcheck // as above
}
