package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/handfast/handfast/agent/internal/privatesocket"
)

const (
	unixPrefix  = "unix:"
	maxUnixPath = 107 // of sockaddr_un on Linux
)

// network splits an address for net.Dial and net.Listen.
func network(address string) (network, addr string) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return "unix", path
	}
	return "tcp", address
}

// checkTCP wants HOST:PORT. A listener may leave out the host and let the kernel choose the port.
func checkTCP(address string, listener bool) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || strings.HasPrefix(address, unixPrefix) { // other hosts reach no socket
		return fmt.Errorf("address %q: use HOST:PORT", address)
	}
	if host == "" && !listener {
		return fmt.Errorf("address %q names no host", address)
	}
	if strings.ContainsAny(host, "/@=, \t\r\n") {
		return fmt.Errorf("address %q: the host is malformed", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 && !listener {
		return fmt.Errorf("address %q: the port is not a number from 1 to 65535", address)
	}
	return nil
}

// checkTarget wants the local service's HOST:PORT or unix:PATH.
func checkTarget(address string) error {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return checkUnix(path)
	}
	return checkTCP(address, false)
}

// CheckLocal refuses an address for plaintext (HOST:PORT) that other hosts can reach, unless
// allowRemote says that they may. Both a numeric loopback address and "localhost" pass.
func CheckLocal(address string, allowRemote bool) error {
	if err := checkTCP(address, true); err != nil {
		return err
	}
	if !allowRemote && !isLoopback(address) {
		return fmt.Errorf("address %s can be reached from other hosts, in plaintext: listen on 127.0.0.1, or set allow-remote if the network is trusted", address)
	}
	return nil
}

// checkLocal is CheckLocal, with unix:PATH as well.
func checkLocal(address string, allowRemote bool) error {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return checkUnix(path)
	}
	return CheckLocal(address, allowRemote)
}

func checkUnix(path string) error {
	if path == "" || len(path) > maxUnixPath || strings.ContainsRune(path, 0) {
		return fmt.Errorf("socket path %q: use 1 to %d characters", path, maxUnixPath)
	}
	return nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// listen binds address. The error says what to do.
func listen(ctx context.Context, address string) (net.Listener, error) {
	kind, addr := network(address)
	if kind == "unix" {
		ln, err := privatesocket.Listen(ctx, addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		return ln, nil
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, kind, addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: another program has it: stop that one or choose another address (ss -ltnp shows it): %w", address, err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: ports under 1024 need CAP_NET_BIND_SERVICE: %w", address, err)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return ln, nil
}
