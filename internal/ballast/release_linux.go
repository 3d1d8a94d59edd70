package ballast

import "syscall"

// release gives the memory of octets, which are zero, back to the system: the runtime writes zeros where it
// cannot tell that the system has given it zeros, which depends on where in the heap there was room. Where a page of memory
// is larger than the runtime's, the system may refuse; then the ballast takes what it would have taken.
func release(octets []byte) {
	_ = syscall.Madvise(octets, syscall.MADV_DONTNEED)
}
