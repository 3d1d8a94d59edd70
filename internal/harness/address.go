package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// The ports that are given: from lowest on, and below highest.
const lowest, highest = 10_000, 60_000

// FreeAddress returns a loopback address whose port nobody listens on. It is outside of the
// range that the kernel hands out to clients, so no outgoing connection takes it before it is used, and
// no other call on this machine returns it while this process lives.
func FreeAddress() (string, error) {
	first, last := clientPorts()
	for range 10_000 {
		port := lowest + rand.IntN(highest-lowest)
		if port >= first && port <= last {
			continue
		}
		// Claimed before it is tried: who tries a port that somebody else was given takes it from them for a moment.
		if !claim(port) {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := net.Listen("tcp", address)
		if err == nil && listener.Close() == nil {
			return address, nil
		}
	}
	return "", errors.New("no free port between 10000 and 60000 on loopback")
}

// claim reports whether this process is the first to want the port. What it binds to say so has a name in no
// directory, is closed by nobody and goes with the process.
func claim(port int) bool {
	socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if err := syscall.Bind(socket, &syscall.SockaddrUnix{Name: fmt.Sprintf("@handfast-harness-port-%d", port)}); err != nil {
		_ = syscall.Close(socket) // somebody else has it
		return false
	}
	return true
}

// clientPorts are the first and the last port that the kernel gives to who asks for any.
func clientPorts() (first, last int) {
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, err := fmt.Sscan(strings.TrimSpace(string(text)), &first, &last)
		if err == nil && (first > lowest+1_000 || last < highest-1_000) { // else too few are left
			return first, last
		}
	}
	return 32768, 60999 // Linux's default
}
