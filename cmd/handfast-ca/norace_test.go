//go:build !race

package main

// cpuFactor is how much more work the race detector makes of everything.
const cpuFactor = 1
