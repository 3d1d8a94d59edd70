//go:build !race

package revocation

const raceDetector = false
