//go:build race

package revocation

// raceDetector is true where the race detector takes its multiple of everything.
const raceDetector = true
