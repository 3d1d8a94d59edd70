package server

import (
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
)

// Whatever headers come: a wait is never negative or longer than the limit, a version is
// one that If-Match spelled out, a key is what a log line and a database key can hold, and
// what is no tag of ours is never taken for "unchanged".
func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{"", "wait=5", "wait=99999999999", `wait="7"`, "respond-async, wait = 3", `"7"`, `"0"`, "*", `W/"7"`, `"18446744073709551615"`, "key-1", `"a", "b"`, "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		hr, err := http.NewRequest(http.MethodGet, "https://ca/", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{api.HeaderPrefer, "If-Match", api.HeaderIdempotencyKey} {
			hr.Header.Set(name, value)
		}
		if wait, err := preferredWait(hr); err == nil && (wait < 0 || wait > api.MaxWait || wait%time.Second != 0) {
			t.Errorf("Prefer %q: %v", value, wait)
		}
		if version, err := precondition(hr); err == nil && (version == 0 || version == ca.AnyVersion || unquoted(value) != version) {
			t.Errorf("If-Match %q: version %d", value, version)
		}
		key, err := (&request{http: hr}).idempotencyKey()
		if err == nil && (key != value || len(key) < 1 || len(key) > 64) {
			t.Errorf("idempotency key %q became %q", value, key)
		}
		hr.Header.Set("If-None-Match", value)
		if unchanged(hr, `"0123456789abcdef"`) && len(value) < 18 && !strings.Contains(value, "*") {
			t.Errorf("If-None-Match %q names a tag that it does not hold", value)
		}
	})
}

func unquoted(value string) uint64 {
	text, err := strconv.Unquote(value)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func TestPreconditions(t *testing.T) {
	st := start(t, nil)
	admin := st.client("handfast/operator/adam")
	for _, version := range []uint64{0, 7, api.AnyVersion} {
		if _, err := admin.PutService(t.Context(), &api.Service{Name: "shop/web"}, version); err != nil || st.putSeen != version {
			t.Errorf("put with version %d: the CA saw %d, %v", version, st.putSeen, err)
		}
	}
	for asked, want := range map[uint64]uint64{0: ca.AnyVersion, 9: 9, api.AnyVersion: ca.AnyVersion} {
		if err := admin.DeleteService(t.Context(), "shop/web", asked); err != nil || st.putSeen != want {
			t.Errorf("delete with version %d: the CA saw %d, %v", asked, st.putSeen, err)
		}
	}
	if api.AnyVersion != ca.AnyVersion {
		t.Error("the wire and the ledger disagree on what any version is")
	}
}

// In HTTP/2 "Connection: close" becomes GOAWAY: also a client that knows nothing of
// Handfast makes a new handshake after its certificate was refused.
func TestRefusedCertificateEndsTheConnection(t *testing.T) {
	st := start(t, nil)
	config := st.tls("web")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	reused := false
	get := func() int {
		request, err := http.NewRequest(http.MethodGet, st.api+api.PathAgentState, nil)
		if err != nil {
			t.Fatal(err)
		}
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
		response, err := client.Do(request.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for range 3 {
		if status := get(); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
	}
	if !reused {
		t.Fatal("the connection was not kept")
	}
	st.change(func() {
		st.refuse[config.Certificates[0].Leaf.SerialNumber.String()] = &api.Error{Code: api.CodeExpired, Message: "expired"}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if status := get(); status != http.StatusForbidden {
			t.Fatalf("status %d with an expired certificate", status)
		}
		if !reused {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the connection outlives its certificate")
		}
	}
}
