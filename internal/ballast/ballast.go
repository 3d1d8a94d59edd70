// Package ballast makes a program that keeps little collect its garbage less often.
//
// Go's GOGC=100 lets as much garbage come together as the program keeps, and what keeps 10 MB and makes 100 MB of garbage a
// second spends a good part of its time collecting. A higher GOGC would help, and would multiply what the program
// keeps once it keeps much, for thousands of connections; a ballast stops to matter then.
package ballast

// New returns octets that the collector counts as kept for as long as they are reachable. Nobody writes them, so that they take
// addresses and no memory.
func New(size int) []byte {
	octets := make([]byte, size)
	release(octets)
	return octets
}
