//go:build linux

package ballast

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
)

// resident returns how many pages of octets take memory or swap space (proc_pid_pagemap(5)), and how many there are.
func resident(t *testing.T, octets []byte) (there, all int) {
	t.Helper()
	address, err := strconv.ParseUint(fmt.Sprintf("%p", octets)[2:], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Skip(err) // a system without it
	}
	defer pagemap.Close()
	page := os.Getpagesize()
	all = len(octets) / page
	entries := make([]byte, 8*all)
	if _, err := pagemap.ReadAt(entries, int64(address)/int64(page)*8); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if binary.NativeEndian.Uint64(entries[8*i:])>>62 != 0 {
			there++
		}
	}
	return there, all
}

// A ballast takes no memory, also where the runtime puts it into memory that was used before, which it does more often
// than not here.
func TestTakesNoMemory(t *testing.T) {
	const size = 64 << 20
	used := bytes.Repeat([]byte{1}, 2*size)
	if there, all := resident(t, used); there < all {
		t.Fatalf("%d of %d pages that were written are there", there, all)
	}
	runtime.GC()
	octets := New(size)
	if there, all := resident(t, octets); there > all/100 {
		t.Errorf("%d of %d pages are there", there, all)
	}
	if i := bytes.IndexFunc(octets, func(r rune) bool { return r != 0 }); i >= 0 || len(octets) != size {
		t.Errorf("%d octets, that at %d is not zero", len(octets), i)
	}
}
