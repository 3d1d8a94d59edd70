// Package version knows which build this is.
package version

import (
	"fmt"
	"runtime"
)

// version is set by the linker (see the Makefile).
var version = "development"

// String returns the version alone, as `git describe` prints it.
func String() string { return version }

// Line returns what `PROGRAM version` prints.
func Line(program string) string {
	return fmt.Sprintf("%s %s (%s, %s/%s)", program, version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
