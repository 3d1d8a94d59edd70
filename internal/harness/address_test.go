package harness_test

import (
	"net"
	"testing"

	"github.com/handfast/handfast/internal/harness"
)

// Addresses are used long after they were asked for: none may be given twice meanwhile.
func TestFreeAddressesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 500 {
		address, err := harness.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		if seen[address] {
			t.Fatalf("%s was given twice", address)
		}
		seen[address] = true
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
	}
}
