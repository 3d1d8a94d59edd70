//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// serveIdentity is a service behind an agent; it answers with the identity headers that it was sent.
func serveIdentity(t *testing.T) (address string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			if strings.Contains(name, "Client-Cert") {
				fmt.Fprintf(w, "%s: %s\n", name, strings.Join(values, " | ")) //nolint:errcheck // the caller may have gone
			}
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}
