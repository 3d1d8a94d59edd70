package statusapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

const (
	askTimeout  = 10 * time.Second
	maxPageSize = 8 << 20 // a page with everything that an agent may know: 10,000 callers, 512 followers
)

// Ask asks the agent whose status server listens on address (HOST:PORT) for its page, at most 8 MiB, and returns it
// as it came, too. Its errors say what to do.
func Ask(ctx context.Context, address string) (*Page, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	target, err := dialable(address)
	if err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target+"/status", nil)
	if err != nil {
		return nil, nil, fmt.Errorf("the address %q cannot be asked: %w", address, err)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // no proxy of the environment's
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, unanswered(address, err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end, or given up
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPageSize+1))
	if err != nil {
		return nil, nil, unanswered(address, err)
	}
	page := new(Page)
	if response.StatusCode != http.StatusOK || len(body) > maxPageSize || json.Unmarshal(body, page) != nil || page.OwnClock.IsZero() {
		return nil, nil, fmt.Errorf("what answers on %s (%s) is not an agent's status: is the address right, and the agent of this version?", address, response.Status)
	}
	return page, body, nil
}

// dialable turns an address to listen on into one to dial: every interface is asked on loopback.
func dialable(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("the status address %q is not HOST:PORT", address)
	}
	if port == "0" {
		return "", fmt.Errorf("the status address %q does not say the port: the agent's log does (status is served)", address)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}

// unanswered says what it means that nobody answers.
func unanswered(address string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no agent runs on this host with --status %s: start it, or look at the end of its log for why it ended (%w)", address, err)
	}
	return fmt.Errorf("the agent on %s does not answer: does it run, and has it time to? Its log says what it does (%w)", address, err)
}
