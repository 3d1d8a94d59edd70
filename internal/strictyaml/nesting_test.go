package strictyaml_test

import (
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/internal/costtest"
	"github.com/handfast/handfast/internal/strictyaml"
)

// Deep nesting costs the parser the square of the depth in memory. The bound is
// wide, for slow machines: refused before parsing, each takes milliseconds.
func TestDeepNestingIsRefusedBeforeItCosts(t *testing.T) {
	const size = 200_000
	for name, unit := range map[string]string{"brackets": "[", "braces": "{", "dashes": "- ", "keys": "? ", "both": "- [", "lines": "- [\n"} {
		t.Run(name, func(t *testing.T) {
			var v any
			var err error
			took := costtest.Measure(t, func() {
				err = strictyaml.Decode("f.yaml", []byte(strings.Repeat(unit, size/len(unit))), &v)
			})
			if err == nil || !strings.Contains(err.Error(), "nested too deeply") {
				t.Errorf("err = %v", err)
			}
			if took > 2*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	var stairs strings.Builder
	for i := range 600 {
		stairs.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	var v any
	if err := strictyaml.Decode("f.yaml", []byte(stairs.String()), &v); err == nil || !strings.Contains(err.Error(), "f.yaml:402: nested too deeply") {
		t.Errorf("stairs: %v", err)
	}
}

func TestFlatListsMayBeLong(t *testing.T) {
	var d document
	text := "list:\n" + strings.Repeat("  - {port: 1}\n", 20_000)
	if err := strictyaml.Decode("f.yaml", []byte(text), &d); err != nil || len(d.List) != 20_000 {
		t.Fatalf("%d items, %v", len(d.List), err)
	}
}
