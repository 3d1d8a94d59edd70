package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/api"
)

// TestReadAll has bodies on both sides of each bound, with and without a word for their length.
func TestReadAll(t *testing.T) {
	const limit = 2 * firstRead
	for _, size := range []int{0, 1, firstRead - 1, firstRead, firstRead + 1, limit - 1, limit, limit + 1} {
		sent := bytes.Repeat([]byte("b"), size)
		for _, told := range []int64{int64(size), -1} {
			r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(bytes.NewReader(sent)))
			r.ContentLength = told
			got, err := readAll(httptest.NewRecorder(), r, limit)
			tooLarge, refused := errors.AsType[*http.MaxBytesError](err)
			switch {
			case size > limit && (!refused || tooLarge.Limit != limit):
				t.Errorf("%d octets, told %d: %v; want an error about the limit", size, told, err)
			case size <= limit && (err != nil || !bytes.Equal(got, sent)):
				t.Errorf("%d octets, told %d: %d octets, %v", size, told, len(got), err)
			}
		}
	}
}

func TestReadAllRefusesHalfABody(t *testing.T) {
	for _, told := range []int64{2, firstRead, firstRead + 1} {
		r := httptest.NewRequest(http.MethodPost, "/", io.NopCloser(io.MultiReader(strings.NewReader("b"), broken{})))
		r.ContentLength = told
		if _, err := readAll(httptest.NewRecorder(), r, 2*firstRead); err == nil {
			t.Errorf("one octet of %d is a body", told)
		}
	}
}

// broken is a connection that ends in the middle of a body: net/http says that of it.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestFixedRoutesAreTheMuxs compares the two ways to a handler: the same answer, header and line in the metrics.
func TestFixedRoutesAreTheMuxs(t *testing.T) {
	s, st := newServer(t, nil)
	st.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) { return &ca.Issued{}, nil }
	if len(s.fixed) == 0 {
		t.Fatal("no route is fixed")
	}
	caller := testCertificate{st.pki.issue(t, "handfast/operator/nemo")}.leaf()
	ask := func(e endpoint, chain bool) (status int, header http.Header, body string, matched string) {
		r := httptest.NewRequest(e.method, "https://ca"+e.path, strings.NewReader("{}"))
		if e.method == http.MethodGet {
			r = httptest.NewRequest(e.method, "https://ca"+e.path, http.NoBody)
		}
		r.Header.Set("Content-Type", "application/json")
		r.TLS = &tls.ConnectionState{}
		if chain {
			r.TLS.PeerCertificates = caller
		}
		w := httptest.NewRecorder()
		s.API().ServeHTTP(w, r)
		id := w.Header().Get(api.HeaderRequestID)
		w.Header().Del(api.HeaderRequestID)
		_, pattern := s.mux.Handler(r)
		return w.Code, w.Header(), strings.ReplaceAll(w.Body.String(), id, "ID"), pattern
	}
	all := s.fixed
	for e := range all {
		for _, chain := range []bool{false, true} {
			s.fixed = all
			status, header, body, pattern := ask(e, chain)
			s.fixed = nil
			byMux, muxHeader, muxBody, _ := ask(e, chain)
			if status != byMux || body != muxBody || header.Get("Content-Type") != muxHeader.Get("Content-Type") || len(header) != len(muxHeader) {
				t.Errorf("%v: %d %v %s\nbut by the mux %d %v %s", e, status, header, body, byMux, muxHeader, muxBody)
			}
			if pattern != e.method+" "+e.path {
				t.Errorf("%v: the mux takes it for %q", e, pattern)
			}
		}
	}
}

// TestAnIssuanceHasItsLineInTheAuditLogAlone has a line at the usual level for all else: a repetition, of which the
// audit log says nothing, and a refusal.
func TestAnIssuanceHasItsLineInTheAuditLogAlone(t *testing.T) {
	for name, test := range map[string]struct {
		issued *ca.Issued
		err    error
		level  string
	}{
		"recorded": {&ca.Issued{}, nil, "level=DEBUG"},
		"repeated": {&ca.Issued{Replayed: true}, nil, "level=INFO"},
		"refused":  {nil, &api.Error{Code: api.CodeTokenUsed}, "level=INFO"},
		"failed":   {nil, errors.New("the disk is full"), "level=ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			s, st := newServer(t, nil)
			st.enrolled = func(ca.Claim, []byte, string) (*ca.Issued, error) { return test.issued, test.err }
			r := httptest.NewRequest(http.MethodPost, "https://ca"+api.PathEnroll, strings.NewReader(`{"token":"good","csr":"AAAA"}`))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			s.API().ServeHTTP(w, r)
			log := st.logs.String()
			for _, want := range []string{test.level + " msg=request", "remote=" + r.RemoteAddr, "request_id=" + w.Header().Get(api.HeaderRequestID)} {
				if strings.Count(log, want) != 1 {
					t.Errorf("%q is not there once:\n%s", want, log)
				}
			}
		})
	}
}
