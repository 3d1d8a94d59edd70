package strictyaml_test

import (
	"strings"
	"testing"

	"github.com/handfast/handfast/internal/strictyaml"
)

type document struct {
	Name string `yaml:"name"`
	List []struct {
		Port int `yaml:"port"`
	} `yaml:"list"`
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"unknown key", "name: a\ntitel: b\n", `f.yaml:2:1: unknown field "titel"`},
		{"nested unknown key", "list:\n  - port: 1\n    prot: 2\n", "f.yaml:3:5"},
		{"duplicate key", "name: a\nname: b\n", "f.yaml:2:1"},
		{"wrong type", "list:\n  - port: [1]\n", "f.yaml:2"},
		{"two documents", "name: a\n---\nname: b\n", "more than one YAML document"},
		{"empty", "", "empty"},
		{"oversize", "name: " + strings.Repeat("a", strictyaml.MaxSize), "over"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d document
			err := strictyaml.Decode("f.yaml", []byte(tt.in), &d)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("err = %v; want %q in it", err, tt.want)
			}
		})
	}
}

func TestErrorsDoNotQuoteTheFile(t *testing.T) {
	var d document
	err := strictyaml.Decode("f.yaml", []byte("name: a\npassphrase: hunter2\n"), &d)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("err = %v; want an error without the value", err)
	}
}
