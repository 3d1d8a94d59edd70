package main

import "runtime/debug"

// growth is how much garbage may come to what the daemon keeps before it is collected, in percent. What
// it keeps is some 10 MB, so that Go's 100 means to collect all the time: docs/performance.md has
// what that costs.
const growth = 250

// collectLess leaves an operator's own choice alone. GOMEMLIMIT bounds either.
func (env *environment) collectLess() {
	if _, chosen := env.lookup("GOGC"); !chosen {
		debug.SetGCPercent(growth)
	}
}
