package strictyaml

import (
	"fmt"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// checkAliases refuses what unfolds into more than stands in the file. The decoder
// underneath unfolds an alias of aliases without a bound, so that some hundred bytes would
// take hours. No configuration is long enough to need them.
func checkAliases(name string, data []byte) error {
	for _, t := range lexer.Tokenize(string(data)) {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return fmt.Errorf("%s:%d:%d: anchors, aliases and merge keys are not read: write it out, and put a \"*\" that is a value in quotes",
				name, t.Position.Line, t.Position.Column)
		}
	}
	return nil
}
