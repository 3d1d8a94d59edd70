//go:build !race

package main

// underRace says whether the race detector watches, which makes a multiple of every work.
const underRace = false
