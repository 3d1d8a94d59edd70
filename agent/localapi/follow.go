package localapi

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/handfast/handfast/agent/followers"
	"github.com/handfast/handfast/certs"
)

// follow answers a program that says what it enforces.
func (s *Server) follow(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(headerTimeout)) //nolint:errcheck // only a test's recorder cannot
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, certs.MaxFollowRequestSize))
	if err != nil {
		http.Error(w, "the question cannot be read", http.StatusBadRequest)
		return
	}
	control.SetReadDeadline(time.Time{}) //nolint:errcheck // likewise
	question, err := certs.DecodeFollowRequest(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	who := followers.Identity{ID: question.Follower, Program: question.Program, PID: question.PID}
	follower, ok := s.join(w, r, who)
	if !ok {
		return
	}
	follower.Enforces(question.Enforces)
	s.answer(w, r, question.Known, min(time.Duration(question.WaitSeconds)*time.Second, maxWait), func(_ string, position certs.FollowPosition) {
		follower.Tell(position)
	})
}

// snapshot answers a program with a library from before followers said what they enforce. It uses a snapshot before it
// asks for the next one with its ETag, so that is what confirms it; one that never names an ETag confirms nothing.
func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) {
	known, wait := r.Header.Get("If-None-Match"), time.Duration(0)
	if known != "" {
		wait = waitOf(r.Header.Get("Prefer"))
	}
	l := lineOf(r.Context())
	if l.old == nil {
		var ok bool
		if l.old, ok = s.join(w, r, followers.Identity{ID: "old-" + randomID(), Old: true}); !ok {
			return
		}
		if known != "" { // of another connection or agent: what it stands for is not known
			l.old.Enforces(&certs.FollowPosition{Until: positionOf(s.source).Until})
		}
	}
	if known != "" && known == l.etag {
		sent := l.sent
		l.old.Enforces(&sent)
	}
	s.answer(w, r, known, wait, func(etag string, position certs.FollowPosition) {
		l.etag, l.sent = etag, position
		l.old.Tell(position)
	})
}

// randomID tells connections apart.
func randomID() string {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails (crypto/rand documents it)
	return hex.EncodeToString(b[:])
}

func (s *Server) join(w http.ResponseWriter, r *http.Request, who followers.Identity) (*followers.Follower, bool) {
	var conn followers.Conn
	if c := lineOf(r.Context()).conn; c != nil {
		conn = c
	}
	follower, err := s.followers.Join(conn, who)
	if err != nil {
		s.logger.Warn("a program cannot follow this agent", "cause", err, "most", followers.Max, "program", who.Program, "pid", who.PID)
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
	return follower, err == nil
}

// answer sends the snapshot when it is another one than known, at once or within wait. tell is called before it is sent.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, known string, wait time.Duration, tell func(etag string, position certs.FollowPosition)) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		changed := s.source.Changed()
		body, etag, position, err := s.encoded()
		if err != nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if etag != known {
			tell(etag, position)
			s.send(w, body, etag)
			return
		}
		if wait == 0 {
			w.Header().Set("ETag", etag)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			wait = 0
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) send(w http.ResponseWriter, body []byte, etag string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("ETag", etag)
	if _, err := w.Write(body); err != nil {
		s.logger.Debug("a local client went away", "cause", err)
	}
}

// waitOf reads the wait preference (RFC 7240, section 4.3): whole seconds.
func waitOf(prefer string) time.Duration {
	for item := range strings.SplitSeq(prefer, ",") {
		value, ok := strings.CutPrefix(strings.TrimSpace(item), "wait=")
		if !ok {
			continue
		}
		seconds, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return 0
		}
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	return 0
}
