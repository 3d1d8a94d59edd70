package strictyaml_test

import (
	"testing"

	"github.com/handfast/handfast/internal/strictyaml"
)

func TestPlace(t *testing.T) {
	data := []byte("# comment\nname: a\nlist:\n  - port: 1\n  - port: 2\n    rules: [{x: y}]\nodd.key: {in: 3}\n")
	tests := []struct {
		name string
		path []any
		want string
	}{
		{"value", []any{"name"}, "f.yaml:2:7"},
		{"in a list", []any{"list", 1, "port"}, "f.yaml:5:11"},
		{"in flow style", []any{"list", 1, "rules", 0, "x"}, "f.yaml:6:17"},
		{"key with a dot", []any{"odd.key", "in"}, "f.yaml:7:15"},
		{"missing key is its parent", []any{"list", 0, "host"}, "f.yaml:4:9"},
		{"missing at the top", []any{"trust_domain"}, "f.yaml:1:1"},
		{"missing position", []any{"list", 7}, "f.yaml:4:3"},
		{"no path", nil, "f.yaml:1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strictyaml.Place("f.yaml", data, tt.path...); got != tt.want {
				t.Errorf("Place = %s; want %s", got, tt.want)
			}
		})
	}
	if got := strictyaml.Place("f.yaml", []byte("a: [")); got != "f.yaml" {
		t.Errorf("Place of no YAML = %s; want the name", got)
	}
}
