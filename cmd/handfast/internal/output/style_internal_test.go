package output

import (
	"bytes"
	"strings"
	"testing"
)

func TestColoursKeepTheAlignment(t *testing.T) {
	g := Grid{Header: []string{"STATUS", "NAME"}}
	g.Add(Cell{Text: "valid", Colour: StatusColour("valid")}, Cell{Text: "a"})
	g.Add(Cell{Text: "revoked", Colour: StatusColour("revoked")}, Cell{Text: "b\x1b[2J"})
	var b bytes.Buffer
	if err := g.Write(&b, Style{enabled: true}); err != nil {
		t.Fatal(err)
	}
	want := "STATUS   NAME\n\x1b[32mvalid\x1b[0m    a\n\x1b[31mrevoked\x1b[0m  b\\x1b[2J\n"
	if b.String() != want {
		t.Fatalf("got %q\nwant %q", b.String(), want)
	}
	plain := strings.NewReplacer("\x1b[32m", "", "\x1b[31m", "", "\x1b[0m", "").Replace(b.String())
	if strings.Contains(plain, "\x1b") {
		t.Fatal("an escape from outside came through")
	}
}

func TestPlainStaysPlain(t *testing.T) {
	if got := (Style{enabled: true}).Paint(Plain, "x"); got != "x" {
		t.Fatalf("painted %q", got)
	}
}
