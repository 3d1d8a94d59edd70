// Package logging makes the programs' slog.Logger from their two flags.
package logging

import (
	"fmt"
	"io"
	"log/slog"
)

// New returns a logger that writes to w. level is debug, info, warn or error; format is
// text or json.
func New(w io.Writer, level, format string) (*slog.Logger, error) {
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: threshold}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("log format %q: use text or json", format)
	}
}
