package logging

import (
	"bytes"
	"strings"
	"testing"
)

// pieces notes each call.
type pieces struct{ calls [][]byte }

func (p *pieces) Write(b []byte) (int, error) {
	p.calls = append(p.calls, bytes.Clone(b))
	return len(b), nil
}

func TestPiecesAreWholeLines(t *testing.T) {
	line := func(n int) string { return strings.Repeat("a", n-1) + "\n" }
	for _, tt := range []struct {
		name  string
		lines string
		want  []int // lengths of the calls
	}{
		{"none", "", nil},
		{"one", line(10), []int{10}},
		{"what a pipe takes", strings.Repeat(line(1024), 4), []int{4096}},
		{"one octet more", strings.Repeat(line(1024), 3) + line(1025), []int{3072, 1025}},
		{"a long one in the middle", line(10) + line(9000) + line(10), []int{10, 9000, 10}},
		{"many", strings.Repeat(line(341), 30), []int{12 * 341, 12 * 341, 6 * 341}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p pieces
			if err := writePieces(&p, []byte(tt.lines)); err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, call := range p.calls {
				got = append(got, len(call))
			}
			if string(bytes.Join(p.calls, nil)) != tt.lines || len(got) != len(tt.want) {
				t.Fatalf("calls of %v octets, want %v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("calls of %v octets, want %v", got, tt.want)
				}
			}
		})
	}
}
