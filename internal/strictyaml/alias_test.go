package strictyaml

import (
	"strings"
	"testing"
)

// Aliases of aliases unfold without a bound: some hundred bytes would take hours, and this test with them.
func TestAliasesAreRefused(t *testing.T) {
	t.Parallel()
	bomb := "l0: &l0 [x,x,x,x,x,x,x,x,x]\n"
	for _, level := range []string{"1 0", "2 1", "3 2", "4 3", "5 4", "6 5", "7 6", "8 7", "9 8"} {
		to, from, _ := strings.Cut(level, " ")
		bomb += "l" + to + ": &l" + to + " [" + strings.TrimSuffix(strings.Repeat("*l"+from+",", 9), ",") + "]\n"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"bomb", bomb, "x:1:5: anchors"},
		{"alias alone", "a: [*b]\n", "x:1:5: "},
		{"star that is a value", "a: [*]\n", `a "*" that is a value`},
		{"merge", "a: [x]\n<<: {b: [y]}\n", "x:2:1: "},
		{"in the second document", "a: [x]\n---\nb: &c d\n", "x:3:4: "},
		{"quoted and within words", "a: [\"*\", '&x', a*b, a&b, \"<<\"]\n", ""},
		{"comment", "a: [x] # &b *c\n", ""},
	} {
		v := map[string][]string{}
		err := Decode("x", []byte(tt.text), &v)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
}
