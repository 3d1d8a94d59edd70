package strictyaml

import (
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Place returns where in data the value at path stands, as "name:line:column", for
// errors about values that decoded well but make no sense. path is keys (string) and
// list positions (int). Where there is no such value it is its nearest parent's place,
// and where data cannot be read it is name alone.
func Place(name string, data []byte, path ...any) string {
	file, err := parser.ParseBytes(data, 0)
	if err != nil || len(file.Docs) == 0 {
		return name
	}
	for ; len(path) > 0; path = path[:len(path)-1] {
		if node := find(file, path); node != nil && node.GetToken() != nil {
			at := node.GetToken().Position
			return fmt.Sprintf("%s:%d:%d", name, at.Line, at.Column)
		}
	}
	return name + ":1:1"
}

func find(file *ast.File, path []any) ast.Node {
	builder := (&yaml.PathBuilder{}).Root()
	for _, step := range path {
		switch s := step.(type) {
		case string:
			builder = builder.Child(s)
		case int:
			builder = builder.Index(uint(s)) //nolint:gosec // positions are not negative
		default:
			return nil
		}
	}
	node, err := builder.Build().FilterFile(file)
	if err != nil {
		return nil
	}
	return node
}
