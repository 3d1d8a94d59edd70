package output_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/internal/strictyaml"
)

func TestAgo(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "now"},
		{1500 * time.Millisecond, "in 1 second"},
		{-59 * time.Second, "59 seconds ago"},
		{47*time.Minute + 59*time.Second, "in 47 minutes"},
		{time.Hour, "in 1 hour"},
		{-80 * time.Minute, "1 hour 20 minutes ago"},
		{47 * time.Hour, "in 47 hours"},
		{49 * time.Hour, "in 2 days 1 hour"},
		{30 * 24 * time.Hour, "in 30 days"},
		{-3650 * 24 * time.Hour, "10 years ago"},
	}
	for _, tt := range tests {
		if got := output.Ago(now.Add(tt.d), now); got != tt.want {
			t.Errorf("%v: %q; want %q", tt.d, got, tt.want)
		}
	}
}

func TestShort(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "now"},
		{30 * time.Second, "in 30s"},
		{-90 * time.Second, "1m ago"},
		{65 * time.Minute, "in 1h05m"},
		{-72 * time.Hour, "3d ago"},
	}
	for _, tt := range tests {
		if got := output.Short(now.Add(tt.d), now); got != tt.want {
			t.Errorf("%v: %q; want %q", tt.d, got, tt.want)
		}
	}
	if got := output.Short(time.Time{}, now); got != "" {
		t.Errorf("zero time: %q; want nothing", got)
	}
}

func TestGridAlignsWithoutTrailingSpaces(t *testing.T) {
	g := output.Grid{Header: []string{"NAME", "STATUS", "DNS"}}
	g.Add(output.Cell{Text: "a-long-name"}, output.Cell{Text: "valid", Colour: output.Green}, output.Cell{Text: "ä.example"})
	g.Add(output.Cell{Text: "b"}, output.Cell{Text: "revoked", Colour: output.Red}, output.Cell{})
	var b bytes.Buffer
	if err := g.Write(&b, output.Style{}); err != nil {
		t.Fatal(err)
	}
	want := `NAME         STATUS   DNS
a-long-name  valid    ä.example
b            revoked  -
`
	if b.String() != want {
		t.Fatalf("got:\n%swant:\n%s", b.String(), want)
	}
}

func TestCleanStopsTerminalControl(t *testing.T) {
	tests := []struct{ in, want string }{
		{"web.example.org", "web.example.org"},
		{"Zürich", "Zürich"},
		{"a\x1b[2Jb", `a\x1b[2Jb`},
		{"a\nb\rc\td", `a\nb\rc\td`},
		{"a\u202egro", `a\u202egro`},
		{"bad\xffutf8", `bad\ufffdutf8`},
		{"c1\u009b2J", `c1\u009b2J`},
	}
	for _, tt := range tests {
		if got := output.Clean(tt.in); got != tt.want {
			t.Errorf("%q: %q; want %q", tt.in, got, tt.want)
		}
	}
}

func TestFieldsAlignAndIndentFurtherLines(t *testing.T) {
	var f output.Fields
	f.Add("serial", "01")
	f.Add("empty", "")
	f.Add("fingerprint", "aa\nbb")
	var b bytes.Buffer
	if err := f.Write(&b, "  "); err != nil {
		t.Fatal(err)
	}
	want := "  serial:       01\n  fingerprint:  aa\n                bb\n"
	if b.String() != want {
		t.Fatalf("got:\n%q\nwant:\n%q", b.String(), want)
	}
}

func TestDataKeepsNamesAndValues(t *testing.T) {
	type item struct {
		Name string   `json:"dns_name"`
		List []string `json:"list"`
	}
	want := item{Name: "a\x1b[2J: <&>", List: []string{"yes", "1e3", "- x"}}
	var b bytes.Buffer
	if err := output.WriteData(&b, output.JSON, want); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "\x1b") || !strings.Contains(b.String(), "<&>") {
		t.Errorf("json = %q", b.String())
	}
	var fromJSON item
	if err := json.Unmarshal(b.Bytes(), &fromJSON); err != nil || fromJSON.Name != want.Name {
		t.Errorf("json round trip: %+v, %v", fromJSON, err)
	}

	b.Reset()
	if err := output.WriteData(&b, output.YAML, want); err != nil {
		t.Fatal(err)
	}
	var fromYAML struct {
		Name string   `yaml:"dns_name"`
		List []string `yaml:"list"`
	}
	if err := strictyaml.Decode("out.yaml", b.Bytes(), &fromYAML); err != nil {
		t.Fatalf("%v in:\n%s", err, b.String())
	}
	if fromYAML.Name != want.Name || strings.Join(fromYAML.List, "|") != strings.Join(want.List, "|") {
		t.Errorf("yaml round trip: %+v of:\n%s", fromYAML, b.String())
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("yaml sends an escape to the terminal: %q", b.String())
	}
}

func TestValueRefusesOtherFormats(t *testing.T) {
	v := output.NewValue(output.Table, output.JSON)
	if err := v.Set("json"); err != nil || v.Format != output.JSON {
		t.Fatalf("set json: %v, %q", err, v.Format)
	}
	if err := v.Set("wide"); err == nil || !strings.Contains(err.Error(), "table, json") {
		t.Fatalf("set wide: %v", err)
	}
	if v.Format != output.JSON {
		t.Fatalf("a refused value changed the format to %q", v.Format)
	}
}

func TestNoColourOutsideTerminals(t *testing.T) {
	var b bytes.Buffer
	style := output.NewStyle(&b, func(string) string { return "" })
	if got := style.Paint(output.Red, "x"); got != "x" {
		t.Fatalf("painted %q", got)
	}
}
