package logtest

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestWaitForSeesWhatManyWrite(t *testing.T) {
	var b Buffer
	const writers, lines = 8, 50
	for w := range writers {
		go func() {
			for i := range lines {
				fmt.Fprintf(&b, "<%d.%d>\n", w, i)
			}
		}()
	}
	for w := range writers {
		b.WaitFor(t, fmt.Sprintf("<%d.%d>\n", w, lines-1))
	}
	if n := strings.Count(b.String(), "\n"); n != writers*lines {
		t.Errorf("%d lines; want %d", n, writers*lines)
	}
	io.WriteString(&b, "last")
	if text := b.WaitFor(t, "last"); !strings.HasSuffix(text, "last") {
		t.Errorf("it ends with %q", text[len(text)-10:])
	}
}
